"""Distance correlation: zero (in the limit) only where two things are independent.

Székely, Rizzo, Bakirov, "Measuring and testing dependence by correlation of distances", Annals of
Statistics 35(6), 2007. Their own estimate, a V-statistic, comes out near one for independent
samples of many dimensions. Here stands the bias-corrected one: Székely, Rizzo, "The distance
correlation t-test of independence in high dimension", J. Multivariate Analysis 117, 2013, with the
U-centred distances of Székely, Rizzo, "Partial distance correlation with methods for
dissimilarities", Annals of Statistics 42(6), 2014, definition 2 and equation 3.2. Its square has
mean zero under independence, whatever the dimension; how far chance alone takes it,
``null_distance_correlation`` says.
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
    """U-centred distances (2014, definition 2): rows sum to zero, and so does the diagonal.

    Args:
        apart: ``[samples, samples]`` of at least four samples, zero on the diagonal.
    """
    n = len(apart)
    rows = apart.sum(1, keepdim=True) / (n - 2)
    columns = apart.sum(0, keepdim=True) / (n - 2)
    return (apart - rows - columns + apart.sum() / ((n - 1) * (n - 2))).fill_diagonal_(0)


def distance_correlation(first: Tensor, second: Tensor) -> float:
    """Bias-corrected distance correlation of two sets of paired samples.

    Args:
        first: Centred distances of the one, ``[samples, samples]``.
        second: Those of the other.

    Returns:
        From 0 to 1; 0 where the corrected square is below it or either does not vary at all.
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
