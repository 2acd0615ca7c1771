"""What an attacker learns from: smashed data beside the inputs that it came from.

A decoder may read the whole hidden state and answer with the whole input. Where the hidden state
has one vector a patch (or a stretch of sound), it may also be taught patch by patch, which gives
it as many examples as there are patches and is the far stronger attack at early cuts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import torch
from torch import Tensor

__all__ = ["Halves", "Pairs", "pieces", "position_pairs", "split_samples", "whole_pairs"]

_MOST_EXTRA_TOKENS = 5
"""Class, distillation and register tokens that may stand before the patches."""


@dataclass(frozen=True)
class Halves:
    """Row numbers of the samples that teach the attacks, and of those that are attacked."""

    auxiliary: Tensor
    held_out: Tensor


@dataclass(frozen=True)
class Pairs:
    """Rows of features with rows of targets; centred on the auxiliary half's means."""

    features: Tensor
    """``[rows, f]``, of the auxiliary half."""
    targets: Tensor
    """``[rows, d]``."""
    held_features: Tensor
    """``[rows, f]``, of the held-out half, whole samples one after the other."""
    held_targets: Tensor
    """``[rows, d]``."""
    held_samples: int
    """How many samples the held-out rows are of, each with as many rows."""


def split_samples(samples: int, seed: int) -> Halves:
    """Two halves at random; the odd one out is attacked."""
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    half = samples // 2
    return Halves(order[:half].sort().values, order[half:].sort().values)


def whole_pairs(smashed: Tensor, inputs: Tensor, halves: Halves) -> Pairs:
    """One row a sample: ``smashed`` and ``inputs`` are ``[samples, …]``."""
    return _pairs(smashed.flatten(1)[:, None], inputs.flatten(1)[:, None], halves)


def position_pairs(smashed: Tensor, inputs: Tensor, halves: Halves) -> Pairs | None:
    """One row a position, if the hidden state has one vector for each piece of the input.

    Args:
        smashed: ``[samples, tokens, width]``, or another shape, for which there are none.
        inputs: ``[samples, …]``.
        halves: Which samples teach.
    """
    if smashed.dim() != 3:
        return None
    for extra in range(_MOST_EXTRA_TOKENS + 1):
        parts = pieces(inputs, smashed.shape[1] - extra)
        if parts is not None:
            return _pairs(smashed[:, extra:], parts, halves)
    return None


def pieces(inputs: Tensor, count: int) -> Tensor | None:
    """Inputs cut into as many equal pieces, in the order of a transformer's tokens.

    Args:
        inputs: Images ``[samples, channels, height, width]``, cut into a square grid row by row;
            or sound ``[samples, bands, frames]`` or ``[samples, frames]``, cut along time.
        count: How many.

    Returns:
        ``[samples, count, size]``; ``None`` if they cannot be cut so.
    """
    if count < 2:
        return None
    if inputs.dim() == 4:
        return _patches(inputs, isqrt(count)) if isqrt(count) ** 2 == count else None
    frames = inputs.shape[-1]
    if inputs.dim() > 3 or frames % count:
        return None
    bands = inputs.reshape(len(inputs), -1, count, frames // count)
    return bands.permute(0, 2, 1, 3).flatten(2)


def _patches(images: Tensor, side: int) -> Tensor | None:
    n, channels, height, width = images.shape
    if height % side or width % side:
        return None
    grid = images.reshape(n, channels, side, height // side, side, width // side)
    return grid.permute(0, 2, 4, 1, 3, 5).reshape(n, side * side, -1)


def _pairs(features: Tensor, targets: Tensor, halves: Halves) -> Pairs:
    """Both ``[samples, positions, …]``, centred position by position."""
    (taught, held), (wanted, held_wanted) = (_centred(t, halves) for t in (features, targets))
    return Pairs(
        taught.flatten(0, 1),
        wanted.flatten(0, 1),
        held.flatten(0, 1),
        held_wanted.flatten(0, 1),
        len(held),
    )


def _centred(rows: Tensor, halves: Halves) -> tuple[Tensor, Tensor]:
    taught, held = rows[halves.auxiliary].float(), rows[halves.held_out].float()
    mean = taught.mean(0, keepdim=True)
    return taught - mean, held - mean
