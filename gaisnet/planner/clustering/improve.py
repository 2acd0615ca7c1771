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
MOST_LOOKS = 22_000
"""At pairs of clusters: some 15 s for 1,000 members, and far more than small problems need."""


def score(data: ClusterArrays, assignment: IntArray) -> float:
    """The objective, plus a penalty that dwarfs it for each broken constraint."""
    broken = float(violations(data, sums(data, assignment)).sum())
    return terms(data, assignment).total + _penalty(data) * broken


def improve(data: ClusterArrays, assignment: IntArray) -> tuple[IntArray, int]:
    """Best moves and swaps between two clusters until none is left, or ``MOST_LOOKS`` at pairs of
    clusters were taken; returns how many.

    Broken constraints count more than any gain, so that the first steps repair the start. A pair
    is looked at again only after one of its clusters has changed.
    """
    state = _State(data, assignment)
    looks, moves = 0, 0
    changed = [0] * data.clusters
    seen = dict.fromkeys(combinations(range(data.clusters), 2), -1)
    while looks < MOST_LOOKS:
        stale = [pair for pair in seen if seen[pair] < max(changed[k] for k in pair)]
        if not stale:
            break
        for a, b in stale[: MOST_LOOKS - looks]:
            looks += 1
            seen[a, b] = moves
            if state.improve_pair(a, b):
                moves += 1
                changed[a] = changed[b] = moves
    return state.assignment, looks


def _penalty(data: ClusterArrays) -> float:
    return VIOLATION_WEIGHT * (1.0 + sum(data.weights))


class _State:
    """A partition with all sums over its clusters, kept up to date."""

    def __init__(self, data: ClusterArrays, assignment: IntArray) -> None:
        self._data, self.assignment = data, assignment.copy()
        belongs = one_hot(data, assignment)
        stacked = np.column_stack([data.capacity, data.owner, np.ones(data.members), data.speed])
        self._each = np.column_stack([stacked, data.deviation])
        """``[N, 4 + Y]`` capacity, owner, size, speed and label deviations of each member."""
        self._sums = belongs.T @ self._each
        matrices = [data.pair_cost]
        if data.unreachable.any():
            matrices.append(data.unreachable)
        self._matrices = matrices
        self._reach = [matrix @ belongs for matrix in matrices]
        """``[N, K]`` of each matrix: a member's sum over those of a cluster."""
        self._within = [(belongs * reach).sum(axis=0) / 2.0 for reach in self._reach]

    def improve_pair(self, a: int, b: int) -> bool:
        """Apply the best exchange between clusters a and b, if it gains anything."""
        i = np.flatnonzero(self.assignment == a)
        j = np.flatnonzero(self.assignment == b)
        scores = self._scores(i, j, a, b)
        best = int(np.argmin(scores))
        if scores.flat[best] >= scores[-1, -1] - LEAST_GAIN:
            return False
        leaving, joining = np.unravel_index(best, scores.shape)
        if leaving < len(i):
            self._move(int(i[leaving]), a, b)
        if joining < len(j):
            self._move(int(j[joining]), b, a)
        return True

    def _move(self, member: int, a: int, b: int) -> None:
        self.assignment[member] = b
        self._sums[a] -= self._each[member]
        self._sums[b] += self._each[member]
        for matrix, reach, within in zip(self._matrices, self._reach, self._within, strict=True):
            within[a] -= reach[member, a]
            within[b] += reach[member, b]
            reach[:, a] -= matrix[:, member]
            reach[:, b] += matrix[:, member]

    def _scores(self, i: IntArray, j: IntArray, a: int, b: int) -> FloatArray:
        """``[|a| + 1, |b| + 1]`` score (of what changes) after i of a and j of b change places.

        The last row and column stand for nobody, so that moves are swaps with nobody.
        """
        data = self._data
        nobody = np.zeros((1, self._each.shape[1]))
        gained = np.concatenate([self._each[i], nobody])
        lost = np.concatenate([self._each[j], nobody])
        change = gained[:, None] - lost[None, :]
        here, there = self._sums[a] - change, self._sums[b] + change
        pairs = [self._pairs(m, i, j, a, b) for m in range(len(self._matrices))]
        apart = pairs[1] if len(pairs) > 1 else (np.zeros(()), np.zeros(()))
        broken = sum(
            violations(
                data,
                Subset(
                    capacity=side[..., 0],
                    owner=side[..., 1],
                    size=side[..., 2],
                    unreachable=np.broadcast_to(cut, side.shape[:-1]),
                ),
            )
            for side, cut in zip((here, there), apart, strict=True)
        )
        slowest = np.minimum(here[..., 3], there[..., 3])
        others = np.delete(self._sums[:, 3], (a, b))
        if others.size:
            slowest = np.minimum(slowest, others.min())
        scores: FloatArray = (
            data.label_cost(here[..., 4:])
            + data.label_cost(there[..., 4:])
            + data.weights[1] * np.maximum(1.0 - slowest, 0.0)
            + pairs[0][0]
            + pairs[0][1]
            + _penalty(data) * broken
        )
        return scores

    def _pairs(
        self, m: int, i: IntArray, j: IntArray, a: int, b: int
    ) -> tuple[FloatArray, FloatArray]:
        """Sums of a matrix over the pairs within both clusters after each exchange."""
        matrix, reach, within = self._matrices[m], self._reach[m], self._within[m]
        between = np.zeros((len(i) + 1, len(j) + 1))
        between[:-1, :-1] = matrix[np.ix_(i, j)]

        def after(k: int, leaving: IntArray, joining: IntArray) -> FloatArray:
            out, into = np.append(reach[leaving, k], 0.0), np.append(reach[joining, k], 0.0)
            changed: FloatArray = within[k] + into[None, :] - out[:, None]
            return changed

        return after(a, i, j) - between, after(b, j, i).T - between
