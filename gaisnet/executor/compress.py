"""Quantisation of what crosses a cut: one scale per row, symmetric, deterministic.

A row is the last dimension (one token). Per-token absmax quantisation as in Dettmers et al.,
arXiv 2208.07339, section 3.1: scale = max |x| / q_max with q_max = 127 or 7, code =
round(x / scale), ties to even. The error of an element is at most half its row's scale. Bytes are
``planner.cost.compressed_bytes`` of the tensor, exactly. NaN and infinity make their whole row
non-finite, so a diverged step stays visible.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gaisnet.errors import RunError
from gaisnet.schema.job import Compression

__all__ = ["pack", "unpack"]

_CODES, _SCALES = ".codes", ".scales"
_Q_MAX = {"int8": 127, "int4": 7}
_NIBBLE_OFFSET = 8
_TINIEST_SCALE = torch.finfo(torch.float32).tiny
"""Rows below it count as zero: dividing by a subnormal scale would lose its precision."""


def pack(name: str, values: Tensor, kind: Compression) -> dict[str, Tensor]:
    """What is sent in place of ``values``, a floating-point tensor ``[..., width]``.

    Returns:
        ``{name: values}`` bit for bit for ``none``; otherwise codes (int8 ``[..., width]``, or
        uint8 ``[..., ceil(width / 2)]`` with two codes each) and float32 scales ``[...]``.
    """
    if kind == "none" or values.numel() == 0:
        return {name: values}
    rows = values.detach().to(torch.float32)
    scales = rows.abs().amax(-1) / _Q_MAX[kind]
    divisor = torch.where(scales < _TINIEST_SCALE, torch.inf, scales).unsqueeze(-1)
    codes = torch.nan_to_num(rows / divisor).round_().to(torch.int8)
    packed = _pair(codes) if kind == "int4" else codes
    return {name + _CODES: packed, name + _SCALES: scales}


def unpack(
    name: str, tensors: Mapping[str, Tensor], width: int, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The tensor that ``pack`` was given, or its quantised neighbour.

    Args:
        name: As given to ``pack``.
        tensors: A frame's.
        width: Size of the last dimension.
        dtype: What to return quantised values in.

    Raises:
        RunError: The frame lacks it, or codes and scales do not fit together.
    """
    if name in tensors:
        return tensors[name]
    codes, scales = tensors.get(name + _CODES), tensors.get(name + _SCALES)
    if codes is None or scales is None or codes.shape[:-1] != scales.shape:
        raise RunError(f"a frame does not carry {name!r}", hint="resume from the last checkpoint")
    if codes.dtype is torch.uint8:
        codes = _unpair(codes, width)
    return (codes.to(torch.float32) * scales.unsqueeze(-1)).to(dtype)


def _pair(codes: Tensor) -> Tensor:
    """Two codes of -7 .. 7 in a byte, the even one in the low nibble; an odd end has a zero."""
    shifted = (codes + _NIBBLE_OFFSET).to(torch.uint8)
    if shifted.shape[-1] % 2:
        shifted = torch.nn.functional.pad(shifted, (0, 1), value=_NIBBLE_OFFSET)
    return shifted[..., 0::2] | (shifted[..., 1::2] << 4)


def _unpair(pairs: Tensor, width: int) -> Tensor:
    nibbles = torch.stack((pairs & 15, pairs >> 4), dim=-1).flatten(-2)
    return nibbles[..., :width].to(torch.int8) - _NIBBLE_OFFSET
