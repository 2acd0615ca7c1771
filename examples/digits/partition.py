"""Unequal shares of labelled data, as federated learning studies them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["dirichlet_shares"]

Rows = NDArray[np.int64]


def dirichlet_shares(
    labels: NDArray[np.int64], shares: int, *, alpha: float, seed: int, least: int = 16
) -> list[Rows]:
    """Deal samples to owners; each class in proportions drawn from Dirichlet(α).

    A small α gives each owner few classes and unequal amounts; ``math.inf`` deals every class
    evenly (Hsu et al., arXiv 1909.06335, and as most papers do since: per class, Li et al.,
    arXiv 2102.02079). Owners that end up with fewer than ``least`` samples get some at random
    from whoever has most.

    Returns:
        Row numbers of each owner, ascending; every row of ``labels`` stands in exactly one share.

    Raises:
        ValueError: There are fewer than ``shares · least`` samples, or α is not positive.
    """
    if not alpha > 0.0:
        raise ValueError(f"alpha must be positive, not {alpha}")
    if len(labels) < shares * least:
        raise ValueError(f"{len(labels)} samples do not give {shares} owners {least} each")
    random = np.random.default_rng(seed)
    dealt: list[list[int]] = [[] for _ in range(shares)]
    for kind in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == kind))
        for owner, part in enumerate(np.split(rows, _borders(random, len(rows), shares, alpha))):
            dealt[owner].extend(part.tolist())
    _top_up(dealt, least, random)
    return [np.array(sorted(rows), dtype=np.int64) for rows in dealt]


def _borders(random: np.random.Generator, rows: int, shares: int, alpha: float) -> Rows:
    """Where one owner's part of ``rows`` samples ends and the next one's begins."""
    if math.isinf(alpha):
        # Who gets the odd sample is drawn anew for each class, or the last owners would get none.
        sizes = np.full(shares, rows // shares)
        sizes[random.permutation(shares)[: rows % shares]] += 1
        return np.cumsum(sizes)[:-1]
    parts = random.dirichlet(np.full(shares, alpha))
    return np.floor(np.cumsum(parts)[:-1] * rows + 0.5).astype(np.int64)


def _top_up(dealt: list[list[int]], least: int, random: np.random.Generator) -> None:
    while min(map(len, dealt)) < least:
        poorest, richest = min(dealt, key=len), max(dealt, key=len)
        poorest.append(richest.pop(int(random.integers(len(richest)))))
