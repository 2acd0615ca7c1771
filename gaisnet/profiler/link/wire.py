"""What two ends say to each other while they measure the link between them.

Plain TCP, big-endian, nothing but lengths and filler:

    client → server   hello: MAGIC, version (2 bytes)
    server → client   the same hello
    client → server   order: one letter, length (8 bytes)
        b"U" length   the client sends as many bytes; the server answers DONE when it has them all
        b"D" length   the server sends as many bytes
        b"Q" 0        the end

Every read has a length that was checked before and a time by which it must be over; what arrives
as filler is counted and dropped. Runs send their frames over TCP as well; what a run adds, packing
and unpacking tensors, is compute of its devices and not of the link.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from functools import cache

from gaisnet.errors import RunError

__all__ = [
    "DONE",
    "HELLO",
    "MAX_TRANSFER_BYTES",
    "ORDER",
    "LinkError",
    "Stream",
]

HELLO = b"gaisnet-link" + struct.pack(">H", 1)
ORDER = struct.Struct(">cQ")
DONE = b"K"
MAX_TRANSFER_BYTES = 64 * 2**20
"""Largest transfer that either end takes part in."""

_CHUNK_BYTES = 2**18


class LinkError(RunError):
    """The other end is not there, is too slow, or is no gaisnet."""


class Stream:
    """One end of a connection, on which everything must be over by a deadline.

    Args:
        connection: A connected TCP socket; closed with the stream.
        limit_s: Seconds from now to the deadline.
    """

    def __init__(self, connection: socket.socket, limit_s: float) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._buffer = bytearray(_CHUNK_BYTES)
        self.set_limit(limit_s)

    def set_limit(self, limit_s: float) -> None:
        """Move the deadline to as many seconds from now."""
        self._deadline = time.monotonic() + limit_s

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it.

        Raises:
            LinkError: The deadline has passed, or the connection is lost.
        """
        try:
            self._arm()
            self._connection.sendall(data)
        except OSError as error:
            raise _lost(error) from error

    def send_filler(self, n_bytes: int) -> None:
        """Send as many bytes that no compression on the way makes fewer.

        Raises:
            LinkError: The deadline has passed, or the connection is lost.
        """
        filler = memoryview(_filler())
        while n_bytes > 0:
            self.send(filler[:n_bytes])
            n_bytes -= len(filler[:n_bytes])

    def receive(self, n_bytes: int) -> bytes:
        """Exactly as many bytes; few, since they are kept.

        Raises:
            LinkError: The deadline has passed, or the connection ended before.
        """
        kept = bytearray()
        while len(kept) < n_bytes:
            kept += self._some(n_bytes - len(kept))
        return bytes(kept)

    def drop(self, n_bytes: int) -> None:
        """Receive exactly as many bytes, and keep none.

        Raises:
            LinkError: The deadline has passed, or the connection ended before.
        """
        while n_bytes > 0:
            n_bytes -= len(self._some(n_bytes))

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _some(self, most: int) -> memoryview:
        view = memoryview(self._buffer)[:most]
        try:
            self._arm()
            got = self._connection.recv_into(view)
        except OSError as error:
            raise _lost(error) from error
        if not got:
            raise LinkError("the other end has closed the connection")
        return view[:got]

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("took too long")
        self._connection.settimeout(left)


@cache
def _filler() -> bytes:
    """The same on every machine; long enough that hardly anything finds it repeating."""
    return random.Random(0).randbytes(2**20)


def _lost(error: OSError) -> LinkError:
    what = "took too long" if isinstance(error, TimeoutError) else str(error)
    return LinkError(f"the connection is lost: {what}")
