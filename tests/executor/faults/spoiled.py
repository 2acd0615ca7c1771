"""Frames as a device makes them that is broken, or wants to do harm."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gaisnet.executor.frames import Buffer, decode, encode

__all__ = ["SPOILS", "spoiled"]

_CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nan": lambda tensor: tensor * float("nan"),
    "shape": lambda tensor: tensor.reshape(-1)[:-1],
    "huge": lambda tensor: tensor + 1e6,
}
SPOILS = ("corrupt", "replay", *_CHANGES)


def spoiled(fault: str, frame: Buffer, old: bytes | None) -> bytes:
    """What comes instead of a frame.

    Args:
        fault: One of ``SPOILS``.
        frame: Sound.
        old: One of the same sort that was sent before.
    """
    if fault == "replay":
        assert old is not None, "nothing was sent before"
        return old
    if fault == "corrupt":
        return bytes(frame[: len(frame) // 2])
    header, tensors = decode(bytes(frame))
    name = min(tensors)
    return bytes(encode(header, tensors | {name: _CHANGES[fault](tensors[name]).contiguous()}))
