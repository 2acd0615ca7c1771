"""The wire format: every message is one frame, and a frame is one safetensors file in memory.

Layout (https://huggingface.co/docs/safetensors): eight bytes with the length of the table
(little-endian), the table (JSON: dtype, shape and place of each tensor, and our header as a JSON
string in its metadata), the tensors' bytes without gaps. Nothing else is ever sent, and a frame is
refused before anything is allocated for it unless every length in it fits its size.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, TypeAdapter, ValidationError
from pydantic_core import from_json

from gaisnet.wire.header import FrameError, Header, first_fault, read_text, write_text

__all__ = [
    "ITEM_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_TABLE_BYTES",
    "Buffer",
    "Slot",
    "pack",
    "payload_bytes",
    "read_header",
    "unpack",
]

MAX_TABLE_BYTES = 4 * 2**20
"""Largest table: some 30,000 tensors."""
MAX_FRAME_BYTES = 64 * 2**30
"""Largest frame."""

Buffer = bytes | bytearray | memoryview

ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes of one number, by the format's names of types."""

_PREFIX_BYTES = 8
_MAX_RANK = 16
_METADATA, _HEADER = "__metadata__", "gaisnet"


@dataclass(frozen=True)
class Slot:
    """What a tensor is, without its numbers."""

    name: str
    dtype: str
    """One of ``ITEM_BYTES``."""
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Bytes that its numbers take."""
        return prod(self.shape) * ITEM_BYTES[self.dtype]


class _Entry(BaseModel):
    """Where a tensor lies, as the table has it."""

    model_config = ConfigDict(extra="forbid")
    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(max_length=_MAX_RANK)]
    data_offsets: Annotated[list[StrictInt], Field(min_length=2, max_length=2)]


_ENTRIES = TypeAdapter(dict[str, _Entry])


def pack(header: Header, slots: Sequence[Slot], contents: Iterable[Any]) -> bytes:
    """One frame.

    Args:
        header: Who sends what to whom.
        slots: The tensors, in the order in which they lie. Wide types come first: each then
            starts at a multiple of its item size.
        contents: The bytes of each, contiguous, as something with a buffer.

    Raises:
        FrameError: A name has no place in the table, the frame would be too large, or contents
            are not as long as their tensors.
    """
    table = _pad(json.dumps(_table(header, slots), separators=(",", ":")).encode())
    start = _PREFIX_BYTES + len(table)
    total = start + sum(slot.n_bytes for slot in slots)
    if len(table) > MAX_TABLE_BYTES or total > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {total} bytes with a table of {len(table)} is too large")
    frame = b"".join((len(table).to_bytes(_PREFIX_BYTES, "little"), table, *contents))
    if len(frame) != total:
        raise FrameError(f"a frame of {len(frame)} bytes was to have {total}")
    return frame


def unpack(
    frame: Buffer, *, max_bytes: int = MAX_FRAME_BYTES
) -> tuple[Header, list[tuple[Slot, memoryview]]]:
    """Header and tensors of a frame: what each is, and a view of its bytes.

    Raises:
        FrameError: The frame is damaged, longer than ``max_bytes``, or says of itself what does
            not fit its length.
    """
    table, start = _read_table(frame, max_bytes)
    header = _header_of(table)
    entries = _entries_of(table)
    slots = {name: Slot(name, entry.dtype, tuple(entry.shape)) for name, entry in entries.items()}
    _check_cover(entries, slots, len(frame) - start)
    data = memoryview(frame)
    places = {name: [start + end for end in e.data_offsets] for name, e in entries.items()}
    return header, [(slots[name], data[begin:end]) for name, (begin, end) in places.items()]


def read_header(frame: Buffer) -> Header:
    """The header alone.

    Raises:
        FrameError: The frame is damaged.
    """
    return _header_of(_read_table(frame, MAX_FRAME_BYTES)[0])


def payload_bytes(frame: Buffer) -> int:
    """Bytes of tensors in a frame that ``pack`` made; of a damaged one, none at the least."""
    return max(0, len(frame) - _PREFIX_BYTES - int.from_bytes(frame[:_PREFIX_BYTES], "little"))


def _table(header: Header, slots: Sequence[Slot]) -> dict[str, Any]:
    table: dict[str, Any] = {_METADATA: {_HEADER: write_text(header)}}
    end = 0
    for slot in slots:
        if slot.name == _METADATA:
            raise FrameError(f"a tensor named {slot.name} has no place in a frame")
        begin, end = end, end + slot.n_bytes
        table[slot.name] = {
            "dtype": slot.dtype,
            "shape": list(slot.shape),
            "data_offsets": [begin, end],
        }
    return table


def _pad(table: bytes) -> bytes:
    return table + b" " * (-len(table) % _PREFIX_BYTES)


def _read_table(frame: Buffer, max_bytes: int) -> tuple[dict[str, Any], int]:
    """The table, and where the tensors begin; lengths are checked before anything is parsed."""
    if not _PREFIX_BYTES <= len(frame) <= max_bytes:
        raise FrameError(f"a frame of {len(frame)} bytes is not between 8 and {max_bytes}")
    length = int.from_bytes(frame[:_PREFIX_BYTES], "little")
    if length > min(MAX_TABLE_BYTES, len(frame) - _PREFIX_BYTES):
        raise FrameError(f"a frame of {len(frame)} bytes claims a table of {length}")
    start = _PREFIX_BYTES + length
    try:
        table = from_json(bytes(frame[_PREFIX_BYTES:start]))
    except ValueError as error:
        raise FrameError(f"a frame's table is not JSON: {error}") from error
    if not isinstance(table, dict):
        raise FrameError("a frame's table is no JSON object")
    return table, start


def _header_of(table: dict[str, Any]) -> Header:
    metadata = table.get(_METADATA)
    text = metadata.get(_HEADER) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise FrameError("a frame has no header of gaisnet's")
    return read_text(text)


def _entries_of(table: dict[str, Any]) -> dict[str, _Entry]:
    try:
        return _ENTRIES.validate_python({k: v for k, v in table.items() if k != _METADATA})
    except ValidationError as error:
        raise FrameError(f"a frame's table is wrong: {first_fault(error)}") from error


def _check_cover(entries: Mapping[str, _Entry], slots: Mapping[str, Slot], data_bytes: int) -> None:
    """Tensors lie one after the other and fill the frame to its end."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, after = entry.data_offsets
        size = slots[name].n_bytes
        if begin != end or after - begin != size:
            raise FrameError(f"tensor {name[:100]} of {size} bytes lies at {begin} to {after}")
        end = after
    if end != data_bytes:
        raise FrameError(f"a frame's tensors take {end} bytes, but {data_bytes} follow its table")
