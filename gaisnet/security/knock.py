"""Asks a cluster's head whether it is there and takes what this device would show, within a bound.

Ray itself asks on and on when a certificate does not fit or nobody answers, in code that no signal
interrupts. So before Ray is asked, one call is made as Ray makes them: gRPC over HTTP/2 (RFC 9113),
under TLS if this device has certificates.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from gaisnet.errors import RunError, SecurityError

__all__ = ["knock"]

_LIMIT_S = 20.0
_PATH = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_DATA, _HEADERS, _RESET, _SETTINGS, _GO_AWAY = 0, 1, 3, 4, 7
_END_STREAM, _END_HEADERS = 1, 4
_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_EMPTY_MESSAGE = bytes(5)
_MOST_BYTES = 2**16
_REFUSED = re.compile(rb"grpc-status\x0216")
"""UNAUTHENTICATED, as gRPC writes it: a literal header, its length before it."""
_JOIN_FIRST = "see whether `gaisnet join --head` runs there, and whether a firewall is between"
_BRING = "bring this device's folder from the authority that admitted the head (`gaisnet certs`)"
_SHOW = "name the device's folder that `gaisnet certs` made with --credentials"


def knock(
    host: str, port: int, environment: Mapping[str, str], *, limit_s: float = _LIMIT_S
) -> None:
    """Make one call to a cluster's head.

    Args:
        host: Of the head.
        port: Likewise.
        environment: Has Ray's variables that ``Credentials.environment`` sets, or none of them.
        limit_s: How long the head has to answer.

    Raises:
        RunError: Nobody answers.
        SecurityError: The head is not one of this device's cluster, or refuses this device.
    """
    where, until, token = f"{host}:{port}", time.monotonic() + limit_s, _token(environment)
    try:
        with _connected(host, port, environment, limit_s) as head:
            taken = _takes(head, where, token, until)
    except ssl.SSLCertVerificationError as error:
        raise SecurityError(
            f"the head's certificate does not fit this device's: {error.verify_message}",
            where=where,
            hint=_BRING,
        ) from error
    except ssl.SSLError as error:
        raise _no_tls(error, where) from error
    except OSError as error:
        slow = f"no answer within {limit_s:.3g} s"
        told = slow if isinstance(error, TimeoutError) else f"nobody answers: {error.strerror}"
        raise RunError(told, where=where, hint=_JOIN_FIRST) from error
    if not taken:
        told = "asks for a token" if token is None else "does not take this token"
        raise SecurityError(f"the cluster {told}", where=where, hint=_BRING)


def _connected(
    host: str, port: int, environment: Mapping[str, str], limit_s: float
) -> socket.socket:
    plain = socket.create_connection((host, port), timeout=limit_s)
    if not _has_tls(environment):
        return plain
    try:
        return _context(environment).wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def _has_tls(environment: Mapping[str, str]) -> bool:
    return environment.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def _context(environment: Mapping[str, str]) -> ssl.SSLContext:
    """What this device shows and demands.

    Raises:
        SecurityError: Its files are damaged, or do not belong together.
    """
    key = environment.get("RAY_TLS_SERVER_KEY", "")
    try:
        context = ssl.create_default_context(cafile=environment.get("RAY_TLS_CA_CERT"))
        context.load_cert_chain(environment.get("RAY_TLS_SERVER_CERT", ""), key)
    except OSError as error:
        raise SecurityError(
            f"certificate and key cannot be used: {error}", where=key, hint=_BRING
        ) from error
    context.set_alpn_protocols(["h2"])
    return context


def _no_tls(error: ssl.SSLError, where: str) -> SecurityError:
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
        told = "the cluster speaks without TLS, and this device would not"
        return SecurityError(told, where=where, hint="start it anew, with --credentials")
    told = f"the head does not take this device's certificate: {error.reason or error}"
    return SecurityError(told, where=where, hint=_BRING)


def _token(environment: Mapping[str, str]) -> str | None:
    if environment.get("RAY_AUTH_MODE", "").lower() != "token":
        return None
    told = environment.get("RAY_AUTH_TOKEN")
    if told:
        return told
    path = environment.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        raise SecurityError("the token cannot be read", where=str(path), hint=_BRING) from error


def _call(authority: str, token: str | None) -> bytes:
    """An opening and one call without arguments, header fields as literals (RFC 7541, 6.2.2)."""
    fields = {
        ":method": "POST", ":scheme": "https", ":path": _PATH, ":authority": authority,
        "te": "trailers", "content-type": "application/grpc",
    }  # fmt: skip
    if token is not None:
        fields["authorization"] = f"Bearer {token}"
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    call = _frame(_HEADERS, _END_HEADERS, 1, block) + _frame(_DATA, _END_STREAM, 1, _EMPTY_MESSAGE)
    return _OPENING + _frame(_SETTINGS, 0, 0, b"") + call


def _text(text: str) -> bytes:
    """A string of at most 16,510 bytes, its length before it (RFC 7541, 5.1)."""
    content = text.encode()
    rest = len(content) - 127
    if rest < 0:
        return bytes([len(content)]) + content
    length = bytes([127, rest]) if rest < 128 else bytes([127, rest % 128 + 128, rest // 128])
    return length + content


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    head = len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + content


def _takes(head: socket.socket, where: str, token: str | None, until: float) -> bool:
    """Whether the head takes the token.

    Raises:
        SecurityError: It does not speak with who shows this certificate, or none.
        TimeoutError: It has not answered in time.
    """
    head.sendall(_call(where, token))
    answer = b""
    for kind, flags, content in _frames(head, until):
        answer += content if kind == _HEADERS else b""
        if kind in (_RESET, _GO_AWAY) or (kind == _HEADERS and flags & _END_STREAM):
            return _REFUSED.search(answer) is None
    secured = isinstance(head, ssl.SSLSocket)
    raise SecurityError(
        f"the head does not speak with who shows {'this' if secured else 'no'} certificate",
        where=where,
        hint=_BRING if secured else _SHOW,
    )


def _frames(head: socket.socket, until: float) -> Iterator[tuple[int, int, bytes]]:
    """Kind, flags and content of each frame that comes; ends with what is none."""
    held, total = b"", 0
    while total < _MOST_BYTES:
        head.settimeout(max(0.001, until - time.monotonic()))
        try:
            found = head.recv(_MOST_BYTES)
        except ConnectionError:
            return
        held, total = held + found, total + len(found)
        if not found or (total == len(held) and len(held) > 3 and held[3] != _SETTINGS):
            return
        while len(held) >= 9 and len(held) >= 9 + (size := int.from_bytes(held[:3], "big")):
            yield held[3], held[4], held[9 : 9 + size]
            held = held[9 + size :]
