"""Tensors into frames and out of them; what a frame is, ``gaisnet.wire`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gaisnet.wire import (
    MAX_FRAME_BYTES,
    MAX_TABLE_BYTES,
    Buffer,
    FrameError,
    Header,
    Kind,
    Rows,
    Slot,
    pack,
    payload_bytes,
    read_header,
    unpack,
)

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


def encode(header: Header, tensors: Mapping[str, Tensor]) -> bytes:
    """One frame with ``tensors`` (any shapes, copied once).

    Raises:
        FrameError: A dtype has no place on the wire, or the frame would be too large.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    slots = [_slot(name, tensor) for name, tensor in ordered]
    return pack(header, slots, (_bytes_of(tensor) for _, tensor in ordered))


def decode(frame: Buffer, *, max_bytes: int = MAX_FRAME_BYTES) -> tuple[Header, dict[str, Tensor]]:
    """Header and tensors of a frame. The tensors are copies, which lie as torch itself would lay
    them: some processors round the products of tensors that are not aligned differently, and a
    split would no longer equal the whole bit for bit.

    Raises:
        FrameError: The frame is damaged, longer than ``max_bytes``, or says of itself what does
            not fit its length.
    """
    header, pieces = unpack(frame, max_bytes=max_bytes)
    return header, {slot.name: _copy(slot, piece) for slot, piece in pieces}


def _slot(name: str, tensor: Tensor) -> Slot:
    if tensor.dtype not in _NAMES:
        raise FrameError(f"tensor {name} of {tensor.dtype} has no place in a frame")
    return Slot(name, _NAMES[tensor.dtype], tuple(tensor.shape))


def _bytes_of(tensor: Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else b""


def _copy(slot: Slot, piece: memoryview) -> Tensor:
    dtype = _DTYPES[slot.dtype]
    raw = torch.empty(len(piece), dtype=torch.uint8)
    raw.numpy()[:] = piece
    if dtype is torch.bool and bool((raw > 1).any()):
        raise FrameError(f"tensor {slot.name[:100]} holds a truth value that is neither 0 nor 1")
    return raw.view(dtype).view(slot.shape)
