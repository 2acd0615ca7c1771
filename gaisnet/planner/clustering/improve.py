"""Capacity repair and pairwise improvement: the best move or swap between two clusters."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from gaisnet.planner.clustering.terms import (
    ClusterArrays,
    FloatArray,
    IntArray,
    Subset,
    one_hot,
    sums,
    terms,
    violations,
)

__all__ = ["improve", "score"]

VIOLATION_WEIGHT = 1e3
"""Relative to the sum of the objective's weights: no gain is worth a broken constraint."""
LEAST_GAIN = 1e-12
MOST_SWEEPS = 100


def score(data: ClusterArrays, assignment: IntArray) -> float:
    """The objective, plus a penalty that dwarfs it for each broken constraint."""
    broken = float(violations(data, sums(data, assignment)).sum())
    return terms(data, assignment).total + _penalty(data) * broken


def improve(data: ClusterArrays, assignment: IntArray) -> tuple[IntArray, int]:
    """Best moves and swaps between two clusters until none is left; returns the sweeps as well.

    Broken constraints count more than any gain, so that the first steps repair the start. A pair
    is looked at again only after one of its clusters has changed.
    """
    current, moves = assignment.copy(), 0
    changed = [0] * data.clusters
    seen = dict.fromkeys(_pairs(data), -1)
    for sweep in range(MOST_SWEEPS):
        stale = [pair for pair in seen if seen[pair] < max(changed[k] for k in pair)]
        if not stale:
            return current, sweep
        for a, b in stale:
            seen[a, b] = moves
            if _improve_pair(data, current, a, b):
                moves += 1
                changed[a] = changed[b] = moves
    return current, MOST_SWEEPS


def _pairs(data: ClusterArrays) -> list[tuple[int, int]]:
    return list(combinations(range(data.clusters), 2))


def _penalty(data: ClusterArrays) -> float:
    return VIOLATION_WEIGHT * (1.0 + sum(data.weights))


def _improve_pair(data: ClusterArrays, assignment: IntArray, a: int, b: int) -> bool:
    """Apply the best exchange between clusters a and b in place, if it gains anything."""
    gains = _exchange_scores(data, assignment, a, b)
    best = int(np.argmin(gains))
    if gains.flat[best] >= gains[-1, -1] - LEAST_GAIN:
        return False
    i, j = np.unravel_index(best, gains.shape)
    leaving, joining = np.flatnonzero(assignment == a), np.flatnonzero(assignment == b)
    if i < len(leaving):
        assignment[leaving[i]] = b
    if j < len(joining):
        assignment[joining[j]] = a
    return True


def _exchange_scores(data: ClusterArrays, assignment: IntArray, a: int, b: int) -> FloatArray:
    """``[|a| + 1, |b| + 1]`` score (of what changes) after i of a and j of b change places.

    The last row and column stand for nobody, so that moves are swaps with nobody.
    """
    i, j = np.flatnonzero(assignment == a), np.flatnonzero(assignment == b)
    belongs = one_hot(data, assignment)
    totals = sums(data, assignment)
    parts = []
    for here, sign in ((a, -1.0), (b, 1.0)):
        parts.append(
            Subset(
                capacity=totals.capacity[here] + sign * _difference(data.capacity, i, j),
                owner=totals.owner[here] + sign * _difference(data.owner, i, j),
                size=totals.size[here] + sign * _difference(np.ones(data.members), i, j),
                unreachable=_pairs_after(data.unreachable, belongs, (i, j), (a, b), here),
            )
        )
    broken = violations(data, parts[0]) + violations(data, parts[1])
    labels, speed, near = data.weights
    label_tv = _label_tv(data, belongs, (i, j), (a, b))
    shortfall = _shortfall(data, belongs, (i, j), (a, b))
    proximity = sum(_pairs_after(data.distance, belongs, (i, j), (a, b), k) for k in (a, b))
    scores: FloatArray = (
        labels * label_tv + speed * shortfall + near * proximity + _penalty(data) * broken
    )
    return scores


def _difference(values: FloatArray, i: IntArray, j: IntArray) -> FloatArray:
    """``[|i| + 1, |j| + 1, ...]`` what b gains: values of i minus values of j."""
    nobody = np.zeros((1, *values.shape[1:]))
    gained = np.concatenate([values[i], nobody])
    lost = np.concatenate([values[j], nobody])
    difference: FloatArray = gained[:, None] - lost[None, :]
    return difference


def _label_tv(
    data: ClusterArrays,
    belongs: FloatArray,
    who: tuple[IntArray, IntArray],
    pair: tuple[int, int],
) -> FloatArray:
    change = _difference(data.deviation, *who)
    deviation = belongs.T @ data.deviation
    a, b = pair
    tv: FloatArray = np.abs(deviation[a] - change).sum(axis=-1) + np.abs(deviation[b] + change).sum(
        axis=-1
    )
    return tv


def _shortfall(
    data: ClusterArrays,
    belongs: FloatArray,
    who: tuple[IntArray, IntArray],
    pair: tuple[int, int],
) -> FloatArray:
    change = _difference(data.speed, *who)
    speed = belongs.T @ data.speed
    a, b = pair
    slowest = np.minimum(speed[a] - change, speed[b] + change)
    others = np.delete(speed, pair)
    if others.size:
        slowest = np.minimum(slowest, others.min())
    shortfall: FloatArray = np.maximum(1.0 - slowest, 0.0)
    return shortfall


def _pairs_after(
    matrix: FloatArray,
    belongs: FloatArray,
    who: tuple[IntArray, IntArray],
    pair: tuple[int, int],
    here: int,
) -> FloatArray:
    """Sum of ``matrix`` over the pairs within cluster ``here`` after each exchange."""
    i, j = who
    reach = matrix @ belongs[:, here]
    within = float(belongs[:, here] @ reach) / 2.0
    joining = np.concatenate([reach[j if here == pair[0] else i], [0.0]])
    leaving = np.concatenate([reach[i if here == pair[0] else j], [0.0]])
    if here == pair[0]:
        change = joining[None, :] - leaving[:, None]
    else:
        change = joining[:, None] - leaving[None, :]
    between = np.zeros_like(change)
    between[:-1, :-1] = matrix[np.ix_(i, j)]
    after: FloatArray = within + change - between
    return after
