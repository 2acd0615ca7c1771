"""Which of several vectors are not bettered in everything, and which of those to take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum

__all__ = ["Vector", "dominates", "knee", "undominated"]

Vector = tuple[float, ...]
"""Of measures of which less is better."""


def dominates(one: Vector, other: Vector) -> bool:
    """Whether ``one`` is nowhere worse than ``other``, and somewhere better."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def undominated(vectors: Sequence[Vector]) -> list[int]:
    """Indices of the vectors that no other dominates, by value and then by index.

    Of equal vectors the first counts. Whatever dominates a vector comes before it in the order of
    values, so each needs to be held against those only that were kept before it.
    """
    kept: list[int] = []
    for index in sorted(range(len(vectors)), key=lambda i: (vectors[i], i)):
        vector = vectors[index]
        if not any(vectors[k] == vector or dominates(vectors[k], vector) for k in kept):
            kept.append(index)
    return kept


def knee(vectors: Sequence[Vector]) -> int:
    """The index of the vector nearest to the best of every measure.

    Each measure is scaled to 0 (the best of all vectors) to 1 (the worst); the distance is
    Euclidean, and of equals the first counts. A measure in which all are equal counts nothing.
    """
    low = [min(column) for column in zip(*vectors, strict=True)]
    high = [max(column) for column in zip(*vectors, strict=True)]
    return min(range(len(vectors)), key=lambda i: (_distance(vectors[i], low, high), i))


def _distance(vector: Vector, low: Iterable[float], high: Iterable[float]) -> float:
    parts = zip(vector, low, high, strict=True)
    return fsum(((v - a) / (b - a)) ** 2 for v, a, b in parts if b > a)
