"""Distance correlation: zero (in the limit) only where two things are independent.

Székely, Rizzo, Bakirov, "Measuring and testing dependence by correlation of distances", Annals of
Statistics 35(6), 2007, definitions 4 and 5. This is their V-statistic, which is biased upwards:
independent samples of many dimensions come out well above zero, so it is always read beside
``null_distance_correlation``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "centred",
    "distance_correlation",
    "distances",
    "null_distance_correlation",
    "token_distances",
]


def distances(rows: Tensor) -> Tensor:
    """Euclidean distances between samples.

    Args:
        rows: ``[samples, …]``; what follows the first dimension is one long vector.

    Returns:
        ``[samples, samples]`` in double precision, zero on the diagonal.
    """
    flat = rows.flatten(1).double()
    flat = flat - flat.mean(0)
    squares = flat.square().sum(1)
    gram = flat @ flat.T
    apart = (squares[:, None] + squares[None, :] - 2 * gram).clamp_min(0).sqrt()
    return apart.fill_diagonal_(0)


def token_distances(tokens: Tensor) -> Tensor:
    """Euclidean distances between the one-hot encodings of token sequences.

    Args:
        tokens: Ids, ``[samples, tokens]``.

    Returns:
        ``[samples, samples]``: the square root of twice the number of places that differ.
    """
    differing = torch.stack([(tokens != row).sum(1) for row in tokens])
    return (2.0 * differing.double()).sqrt()


def centred(apart: Tensor) -> Tensor:
    """Distances less their row and column means plus the grand mean (definition 3)."""
    return apart - apart.mean(0, keepdim=True) - apart.mean(1, keepdim=True) + apart.mean()


def distance_correlation(first: Tensor, second: Tensor) -> float:
    """Distance correlation of two sets of paired samples.

    Args:
        first: Centred distances of the one, ``[samples, samples]``.
        second: Those of the other.

    Returns:
        From 0 to 1; 0 where either does not vary at all.
    """
    variance = ((first * first).mean() * (second * second).mean()).sqrt()
    if not variance > 0:
        return 0.0
    ratio = float((first * second).mean() / variance)
    return min(1.0, math.sqrt(max(0.0, ratio)))


def null_distance_correlation(
    first: Tensor, second: Tensor, seed: int, permutations: int = 20
) -> float:
    """Mean distance correlation over random re-pairings: what independence would show."""
    generator = torch.Generator().manual_seed(seed)
    found = 0.0
    for _ in range(permutations):
        order = torch.randperm(len(second), generator=generator)
        found += distance_correlation(first, second[order][:, order])
    return found / permutations
