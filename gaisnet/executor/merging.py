"""Feature merging: several owners' rows as one batch, and apart again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gaisnet.errors import RunError

__all__ = ["join", "join_columns", "split"]


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Owners' rows one below the other; a single owner's are handed on as they are.

    Raises:
        RunError: Samples of different shapes.
    """
    if len(tensors) == 1:
        return tensors[0]
    shapes = sorted({tuple(tensor.shape[1:]) for tensor in tensors})
    if len(shapes) != 1:
        raise RunError(
            f"owners' samples have different shapes, {shapes}",
            hint="pad all owners' data alike, or plan with intra: sequential",
        )
    return torch.cat(list(tensors))


def join_columns(frames: Sequence[Mapping[str, Tensor]], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, joined over frames, without the prefix."""
    names = [name for name in frames[0] if name.startswith(prefix)] if frames else []
    return {name.removeprefix(prefix): join([frame[name] for frame in frames]) for name in names}


def split(tensor: Tensor, rows: Sequence[int], parts: int) -> Sequence[Tensor]:
    """The inverse of ``join`` for several parts; one part gets all."""
    return (tensor,) if parts == 1 else torch.split_with_sizes(tensor, list(rows))
