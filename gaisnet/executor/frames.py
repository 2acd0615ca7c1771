"""The wire format: every message is one frame, and a frame is one safetensors file in memory.

Layout (https://huggingface.co/docs/safetensors): eight bytes with the length of the table
(little-endian), the table (JSON: dtype, shape and place of each tensor, and our header as a JSON
string in its metadata), the tensors' bytes without gaps. Nothing else is ever sent, and a frame is
refused before anything is allocated for it unless every length in it fits its size.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt, TypeAdapter, ValidationError
from pydantic_core import from_json
from torch import Tensor

from gaisnet.errors import RunError
from gaisnet.schema.base import Count, Identifier, Strict
from gaisnet.schema.job import Compression

__all__ = [
    "MAX_FRAME_BYTES",
    "MAX_TABLE_BYTES",
    "Buffer",
    "FrameError",
    "Header",
    "Kind",
    "Rows",
    "decode",
    "encode",
    "payload_bytes",
    "read_header",
]

MAX_TABLE_BYTES = 4 * 2**20
"""Largest table: some 30,000 tensors."""
MAX_FRAME_BYTES = 64 * 2**30
"""Largest frame."""

Buffer = bytes | bytearray | memoryview

Kind = Literal[
    "activation",
    "gradient",
    "labels",
    "tied_gradient",
    "modules",
    "data",
    "history",
    "request",
    "tokens",
    "logits",
]
"""What a frame carries."""

Rows = Annotated[tuple[Count, ...], Field(max_length=65_536)]

_PREFIX_BYTES = 8
_COUNTERS = ("sequence", "round", "step", "microbatch", "position")
_COUNTER_DIGITS = 10 * len(_COUNTERS)
_MAX_RANK = 16
_METADATA, _HEADER = "__metadata__", "gaisnet"
_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class FrameError(RunError):
    """A frame is damaged, too large, or not what was expected."""


class Header(Strict):
    """Who sends what to whom, and for which moment of the run."""

    run: Identifier
    """The run that the frame belongs to; a holder refuses any other."""
    kind: Kind
    sender: Identifier
    """Device that made the frame."""
    receiver: Identifier
    """Device that it is for."""
    sequence: Count = 0
    """Counts the sender's frames: none is taken twice."""
    round: Count = 0
    step: Count = 0
    microbatch: Count = 0
    stage: Annotated[str, Field(max_length=200)] = ""
    """Which stage made it, or whose modules these are."""
    rows: Rows = ()
    """Samples of each owner in a merged batch, in the owners' order."""
    compression: Compression = "none"
    """How the tensors that cross a cut are quantised."""
    session: Annotated[str, Field(max_length=200)] = ""
    """Which conversation an inference frame belongs to."""
    position: Count = 0
    """Tokens that the session held before this frame."""


class _Slot(BaseModel):
    """Where a tensor lies."""

    model_config = ConfigDict(extra="forbid")
    dtype: Literal["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    shape: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(max_length=_MAX_RANK)]
    data_offsets: Annotated[list[StrictInt], Field(min_length=2, max_length=2)]


_SLOTS = TypeAdapter(dict[str, _Slot])


def encode(header: Header, tensors: Mapping[str, Tensor]) -> bytearray:
    """One frame with ``tensors`` (any shapes, copied once).

    Raises:
        FrameError: A dtype has no place on the wire, or the frame would be too large.
    """
    # Wide types first: each tensor then starts at a multiple of its item size.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    table = _pad(json.dumps(_table(header, ordered), separators=(",", ":")).encode())
    start = _PREFIX_BYTES + len(table)
    total = start + sum(tensor.nbytes for _, tensor in ordered)
    if len(table) > MAX_TABLE_BYTES or total > MAX_FRAME_BYTES:
        raise FrameError(f"a frame of {total} bytes with a table of {len(table)} is too large")
    frame = bytearray(total)
    frame[:start] = len(table).to_bytes(_PREFIX_BYTES, "little") + table
    with memoryview(frame) as view:
        for _, tensor in ordered:
            view[start : start + tensor.nbytes] = _bytes_of(tensor)
            start += tensor.nbytes
    return frame


def decode(frame: Buffer, *, max_bytes: int = MAX_FRAME_BYTES) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors of a frame; tensors of a ``bytearray`` are views of it, not copies.

    Raises:
        FrameError: The frame is damaged, longer than ``max_bytes``, or says of itself what does
            not fit its length.
    """
    table, start = _read_table(frame, max_bytes)
    header = _header_of(table)
    slots = _slots_of(table)
    _check_cover(slots, len(frame) - start)
    data = memoryview(frame)
    if data.readonly:  # torch wants to be able to write
        data, start = memoryview(bytearray(data[start:])), 0
    return header, {name: _view(data, start, name, slot) for name, slot in slots.items()}


def read_header(frame: Buffer) -> Header:
    """The header alone.

    Raises:
        FrameError: The frame is damaged.
    """
    return _header_of(_read_table(frame, MAX_FRAME_BYTES)[0])


def payload_bytes(frame: Buffer) -> int:
    """Bytes of tensors in a frame that ``encode`` made."""
    return len(frame) - _PREFIX_BYTES - int.from_bytes(frame[:_PREFIX_BYTES], "little")


def _table(header: Header, ordered: list[tuple[str, Tensor]]) -> dict[str, Any]:
    table: dict[str, Any] = {_METADATA: {_HEADER: _header_text(header)}}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        table[name] = {
            "dtype": _dtype_name(name, tensor),
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    return table


def _header_text(header: Header) -> str:
    """Counters are padded: a frame's size tells what it carries, not how far the run is."""
    counters = {name: getattr(header, name) for name in _COUNTERS}
    text = json.dumps(header.model_dump(exclude_defaults=True) | counters, separators=(",", ":"))
    return text + " " * (_COUNTER_DIGITS - sum(len(str(n)) for n in counters.values()))


def _dtype_name(name: str, tensor: Tensor) -> str:
    if tensor.dtype not in _NAMES or name == _METADATA:
        raise FrameError(f"tensor {name} of {tensor.dtype} has no place in a frame")
    return _NAMES[tensor.dtype]


def _pad(table: bytes) -> bytes:
    return table + b" " * (-len(table) % _PREFIX_BYTES)


def _bytes_of(tensor: Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else b""


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
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        raise FrameError(f"a frame's header is wrong: {_first(error)}") from error


def _slots_of(table: dict[str, Any]) -> dict[str, _Slot]:
    try:
        return _SLOTS.validate_python({k: v for k, v in table.items() if k != _METADATA})
    except ValidationError as error:
        raise FrameError(f"a frame's table is wrong: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    one = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, one['loc']))[:100]}: {one['msg']}"


def _check_cover(slots: Mapping[str, _Slot], data_bytes: int) -> None:
    """Tensors lie one after the other and fill the frame to its end."""
    end = 0
    for name, slot in sorted(slots.items(), key=lambda item: item[1].data_offsets):
        begin, after = slot.data_offsets
        size = prod(slot.shape) * _DTYPES[slot.dtype].itemsize
        if begin != end or after - begin != size:
            raise FrameError(f"tensor {name[:100]} of {size} bytes lies at {begin} to {after}")
        end = after
    if end != data_bytes:
        raise FrameError(f"a frame's tensors take {end} bytes, but {data_bytes} follow its table")


def _view(data: memoryview, start: int, name: str, slot: _Slot) -> Tensor:
    dtype, (begin, end) = _DTYPES[slot.dtype], slot.data_offsets
    if begin == end:
        return torch.empty(slot.shape, dtype=dtype)
    piece = data[start + begin : start + end]
    raw = torch.frombuffer(piece, dtype=torch.uint8)
    if dtype is torch.bool and bool((raw > 1).any()):
        raise FrameError(f"tensor {name[:100]} holds a truth value that is neither 0 nor 1")
    return torch.frombuffer(piece, dtype=dtype).view(slot.shape)
