"""The end that waits: ``gaisnet profile --listen``."""

from __future__ import annotations

import socket
from collections.abc import Callable

from gaisnet.errors import UsageError
from gaisnet.links.address import Address, check_loopback
from gaisnet.links.wire import (
    DONE,
    HELLO,
    MAX_TRANSFER_BYTES,
    ORDER,
    LinkError,
    Stream,
)

__all__ = ["MAX_SESSION_BYTES", "Listener"]

MAX_SESSION_BYTES = 4 * 2**30
"""Most payload of one connection, both ways together."""
_HELLO_S = 5.0
_SESSION_S = 120.0


class Listener:
    """Answers one measuring client after the other.

    Nothing that is received is kept or run, and every connection is bounded in bytes and
    in time; there is no authentication, so by default only this machine is answered.

    Args:
        address: Where to listen; port 0 takes any free one.
        insecure: Whether other machines may be answered.

    Raises:
        SecurityError: The address is not loopback and ``insecure`` is false.
        UsageError: The address cannot be had.
    """

    def __init__(self, address: Address, *, insecure: bool = False) -> None:
        check_loopback(address, insecure=insecure)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            self._socket = socket.create_server(address, family=family)
        except OSError as error:
            where = f"{address[0]}:{address[1]}"
            raise UsageError(f"cannot listen: {error}", where=where) from error

    @property
    def address(self) -> Address:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        return str(host), int(port)

    def serve(self, report: Callable[[str], None], *, connections: int | None = None) -> None:
        """Answer clients until interrupted.

        Args:
            report: Told how each connection ended.
            connections: Stop after as many.
        """
        while connections is None or connections > 0:
            connection, peer = self._socket.accept()
            report(f"{peer[0]}: {_answer(connection)}")
            connections = None if connections is None else connections - 1

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


def _answer(connection: socket.socket) -> str:
    stream = Stream(connection, _HELLO_S)
    try:
        if stream.receive(len(HELLO)) != HELLO:
            return "refused: this is no gaisnet, or one of another version"
        stream.send(HELLO)
        stream.set_limit(_SESSION_S)
        return f"measured with {_orders(stream)} bytes"
    except LinkError as error:
        return f"gave up: {error}"
    finally:
        stream.close()


def _orders(stream: Stream) -> int:
    """Follow orders until the last; returns the payload moved."""
    moved = 0
    while True:
        kind, n_bytes = ORDER.unpack(stream.receive(ORDER.size))
        if kind == b"Q":
            return moved
        moved += n_bytes
        if kind not in (b"U", b"D") or n_bytes > MAX_TRANSFER_BYTES or moved > MAX_SESSION_BYTES:
            raise LinkError("it asked for what no gaisnet asks for")
        if kind == b"U":
            stream.receive_frame(n_bytes)
            stream.send(DONE)
        else:
            stream.send_frame(n_bytes)
