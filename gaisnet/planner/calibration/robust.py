"""Statistics that a few wild values do not move."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import median

__all__ = ["line", "weighted_quantile"]

Pairs = Sequence[tuple[float, float]]


def weighted_quantile(values: Pairs, share: float) -> float:
    """The least value at which values up to it have ``share`` of the weight.

    Args:
        values: Each with its weight, which is positive.
        share: From 0 to 1; a half is the weighted median.
    """
    ordered = sorted(values)
    total, passed = sum(weight for _, weight in ordered), 0.0
    for value, weight in ordered:
        passed += weight
        if passed >= share * total * (1.0 - 1e-12):
            return value
    return ordered[-1][0]


def line(points: Pairs) -> tuple[float, float] | None:
    """Intercept and slope of the line through most of the points (Theil 1950; Sen 1968).

    The slope is the median over all pairs, pairs with a longer base counting more; the intercept
    the median of what is left. None if fewer than two x differ.
    """
    slopes = [
        ((b[1] - a[1]) / (b[0] - a[0]), abs(b[0] - a[0]))
        for a, b in combinations(points, 2)
        if a[0] != b[0]
    ]
    if not slopes:
        return None
    slope = weighted_quantile(slopes, 0.5)
    return median(y - slope * x for x, y in points), slope
