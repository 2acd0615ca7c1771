"""Where a cluster's head is."""

from __future__ import annotations

from gaisnet.errors import UsageError
from gaisnet.links.address import Address, parse_address

__all__ = ["check_host", "head_address"]

_TAKEN_FOR_OTHERS = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "::")
"""Of the first three Ray makes the address under which others reach this machine."""


def head_address(text: str) -> Address:
    """Host and port of ``HOST:PORT``.

    Raises:
        UsageError: It is no address, or one that Ray does not use as it is given.
    """
    host, port = parse_address(text)
    check_host(host)
    return host, port


def check_host(host: str) -> None:
    """Refuse a host under which a node would not be found.

    Raises:
        UsageError: It is one.
    """
    if host in _TAKEN_FOR_OTHERS:
        raise UsageError(
            f"{host} names no machine of a cluster: Ray would take another address for it",
            hint="give the address under which the other devices reach this one; "
            "if all of them are on this machine, 127.0.0.2 and so on",
        )
