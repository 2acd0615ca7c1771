"""What crosses between devices: frames of named, typed bytes. It knows nothing of tensors."""

from gaisnet.wire.frame import (
    MAX_FRAME_BYTES,
    MAX_TABLE_BYTES,
    Buffer,
    Slot,
    pack,
    payload_bytes,
    read_header,
    unpack,
)
from gaisnet.wire.header import FrameError, Header, Kind, Rows

__all__ = [
    "MAX_FRAME_BYTES",
    "MAX_TABLE_BYTES",
    "Buffer",
    "FrameError",
    "Header",
    "Kind",
    "Rows",
    "Slot",
    "pack",
    "payload_bytes",
    "read_header",
    "unpack",
]
