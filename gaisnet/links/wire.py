"""What two ends say to each other while they measure the link between them.

TCP, big-endian lengths, and frames as runs send them (``gaisnet.wire``):

    client → server   hello: MAGIC, version (2 bytes)
    server → client   the same hello
    client → server   order: one letter, payload (8 bytes)
        b"U" payload   a frame with as many bytes follows; the server unpacks it and answers DONE
        b"D" payload   the server packs and sends a frame with as many bytes
        b"Q" 0         the end

A frame goes after its length (8 bytes). Packing and unpacking are in the time, since a run's
tensors wait for them as well. Every read has a length that was checked before anything is
allocated, and a time by which it must be over; what arrives is looked at and dropped.
"""

from __future__ import annotations

import random
import socket
import struct
import time
from functools import cache

from gaisnet.errors import RunError
from gaisnet.wire import FrameError, Header, Slot, pack, payload_bytes, unpack

__all__ = [
    "DONE",
    "HELLO",
    "MAX_TRANSFER_BYTES",
    "ORDER",
    "LinkError",
    "Stream",
]

HELLO = b"gaisnet-link" + struct.pack(">H", 2)
ORDER = struct.Struct(">cQ")
DONE = b"K"
MAX_TRANSFER_BYTES = 64 * 2**20
"""Largest payload of a frame that either end takes part in."""

_LENGTH = struct.Struct(">Q")
_ENVELOPE_BYTES = 2**14
"""What a frame may be longer than its payload."""
_PIECE_BYTES = 2**20
_ITEM_BYTES = 4
_HEADER = Header(run="link", kind="activation", sender="this", receiver="that")


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
        self.set_limit(limit_s)

    def set_limit(self, limit_s: float) -> None:
        """Move the deadline to as many seconds from now."""
        self._deadline = time.monotonic() + limit_s

    def send(self, data: bytes | bytearray) -> None:
        """Send all of it.

        Raises:
            LinkError: The deadline has passed, or the connection is lost.
        """
        try:
            self._arm()
            self._connection.sendall(data)
        except OSError as error:
            raise _lost(error) from error

    def send_frame(self, n_bytes: int) -> None:
        """Pack and send a frame with as many bytes (a multiple of four) that nothing compresses.

        Raises:
            LinkError: The deadline has passed, or the connection is lost.
        """
        sizes = [min(_PIECE_BYTES, n_bytes - at) for at in range(0, n_bytes, _PIECE_BYTES)]
        slots = [Slot(f"hidden.{i}", "F32", (size // _ITEM_BYTES,)) for i, size in enumerate(sizes)]
        frame = pack(_HEADER, slots, (memoryview(_filler())[:size] for size in sizes))
        self.send(_LENGTH.pack(len(frame)))
        self.send(frame)

    def receive_frame(self, n_bytes: int) -> None:
        """Receive and unpack a frame that must have as many bytes, and keep none.

        Raises:
            LinkError: The deadline has passed, the connection ended before, or it is no such
                frame.
        """
        (length,) = _LENGTH.unpack(self.receive(_LENGTH.size))
        if not n_bytes <= length <= n_bytes + _ENVELOPE_BYTES:
            raise LinkError("the other end sends what no gaisnet sends")
        frame = self.receive(length)
        try:
            unpack(frame)
        except FrameError as error:
            raise LinkError(f"the other end sends what no gaisnet sends: {error}") from error
        if payload_bytes(frame) != n_bytes:
            raise LinkError("the other end sends another size than it was asked for")

    def receive(self, n_bytes: int) -> bytearray:
        """Exactly as many bytes; no more than were checked before, since they are kept.

        Raises:
            LinkError: The deadline has passed, or the connection ended before.
        """
        kept = bytearray(n_bytes)
        with memoryview(kept) as view:
            got = 0
            while got < n_bytes:
                got += self._some(view[got:])
        return kept

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _some(self, view: memoryview) -> int:
        try:
            self._arm()
            got = self._connection.recv_into(view)
        except OSError as error:
            raise _lost(error) from error
        if not got:
            raise LinkError("the other end has closed the connection")
        return got

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("took too long")
        self._connection.settimeout(left)


@cache
def _filler() -> bytes:
    """A piece that hardly anything finds repeating; the same on every machine."""
    return random.Random(0).randbytes(_PIECE_BYTES)


def _lost(error: OSError) -> LinkError:
    what = "took too long" if isinstance(error, TimeoutError) else str(error)
    return LinkError(f"the connection is lost: {what}")
