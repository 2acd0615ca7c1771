"""``HOST:PORT``, and whether it can be reached from outside."""

from __future__ import annotations

import ipaddress
import socket

from gaisnet.errors import SecurityError, UsageError

__all__ = ["Address", "check_loopback", "parse_address"]

Address = tuple[str, int]
"""Host name or number, and port."""


def parse_address(text: str) -> Address:
    """Host and port of ``HOST:PORT``, ``[IPv6]:PORT`` or ``PORT``, which is on this machine.

    Raises:
        UsageError: It is none of these.
    """
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not port.isdecimal() or not 0 <= int(port) < 2**16 or (":" in host and not bracketed):
        raise UsageError(f"{text!r} is no address", hint="such as 192.168.1.20:7000 or [::1]:7000")
    return host.strip("[]") or "127.0.0.1", int(port)


def check_loopback(address: Address, *, insecure: bool) -> None:
    """Refuse what others could reach, unless asked for.

    Raises:
        SecurityError: The address is not this machine's own loopback, and ``insecure`` is false.
        UsageError: The host is not known.
    """
    if not insecure and not all(ipaddress.ip_address(ip).is_loopback for ip in _ips(address)):
        raise SecurityError(
            "listening here lets anyone who can reach this machine load its network",
            where=f"{address[0]}:{address[1]}",
            hint="there is no authentication; in a network that you trust, add --insecure",
        )


def _ips(address: Address) -> set[str]:
    try:
        found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UsageError(f"the host {address[0]!r} is not known: {error}") from error
    return {str(entry[4][0]).partition("%")[0] for entry in found}
