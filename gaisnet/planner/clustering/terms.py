"""Objective and broken constraints of partitions, as arrays.

Index letters: ``N`` members, ``K`` clusters, ``Y`` classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaisnet.planner.clustering.problem import ClusterProblem, ClusterTerms

__all__ = [
    "BoolArray",
    "ClusterArrays",
    "FloatArray",
    "IntArray",
    "Subset",
    "arrays",
    "one_hot",
    "sums",
    "terms",
    "violations",
]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

MEMORY_TOLERANCE = 1e-9
"""Relative: sums of the same bytes in another order must not break a constraint."""


@dataclass(frozen=True, kw_only=True)
class ClusterArrays:
    """A problem in numbers that add up over the members of a cluster."""

    capacity: FloatArray
    """``[N]`` in units of the required memory (1 is enough); all 1 if none is required."""
    owner: FloatArray
    """``[N]`` 1 for owners."""
    speed: FloatArray
    """``[N]`` relative to the mean speed of a cluster."""
    deviation: FloatArray
    """``[N, Y]`` additive label deviations ``(H_iy - q_y H_i) / 2H``."""
    distance: FloatArray
    """``[N, N]`` round-trip times relative to the sum over all pairs."""
    unreachable: FloatArray
    """``[N, N]`` 1 where two members must not meet."""
    clusters: int
    weights: tuple[float, float, float]
    sizes: tuple[int, int]
    """Fewest and most members."""

    @property
    def members(self) -> int:
        """N."""
        return len(self.capacity)


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Sums over the members of clusters; any leading shape."""

    capacity: FloatArray
    owner: FloatArray
    size: FloatArray
    unreachable: FloatArray
    """Pairs that must not meet."""


def arrays(problem: ClusterProblem) -> ClusterArrays:
    """``problem`` as arrays."""
    members = problem.members
    count = len(members)
    capacity = np.array([m.capacity_bytes for m in members])
    need = problem.required_bytes * (1.0 - MEMORY_TOLERANCE)
    speed = np.array([m.flops_per_s for m in members])
    mean_speed = speed.sum() / problem.clusters
    matrix = np.zeros((count, count)) if problem.round_trip_s is None else problem.round_trip_s
    round_trip = np.array(matrix, dtype=np.float64)
    np.fill_diagonal(round_trip, 0.0)
    finite = np.where(np.isfinite(round_trip), round_trip, 0.0)
    pairs = finite.sum() / 2.0
    return ClusterArrays(
        capacity=capacity / need if need > 0.0 else np.ones(count),
        owner=np.array([float(m.owner) for m in members]),
        speed=speed / mean_speed if mean_speed > 0.0 else np.ones(count) * problem.clusters,
        deviation=_deviations(problem),
        distance=finite / pairs if pairs > 0.0 else finite,
        unreachable=(~np.isfinite(round_trip)).astype(np.float64),
        clusters=problem.clusters,
        weights=(problem.label_weight, problem.speed_weight, problem.proximity_weight),
        sizes=(problem.min_devices, problem.max_devices or count),
    )


def _deviations(problem: ClusterProblem) -> FloatArray:
    """Members without label counts deviate by nothing."""
    classes = max((len(m.label_counts) for m in problem.members), default=0)
    counts = np.zeros((len(problem.members), max(classes, 1)))
    for row, member in zip(counts, problem.members, strict=True):
        row[: len(member.label_counts)] = member.label_counts
    total = counts.sum()
    if total == 0.0:
        return counts
    share = counts.sum(axis=0) / total
    deviation: FloatArray = (counts - share * counts.sum(axis=1, keepdims=True)) / (2.0 * total)
    return deviation


def violations(data: ClusterArrays, sums: Subset) -> FloatArray:
    """How far clusters are from being allowed: 0, or at least 1 per broken constraint."""
    fewest, most = data.sizes
    missing_memory = np.maximum(1.0 - sums.capacity, 0.0)
    missing_owner = np.maximum(1.0 - sums.owner, 0.0)
    wrong_size = np.maximum(fewest - sums.size, 0.0) + np.maximum(sums.size - most, 0.0)
    total: FloatArray = np.zeros_like(sums.capacity)
    for amount in (missing_memory, missing_owner, wrong_size, sums.unreachable):
        total = total + (amount > 0.0) * (1.0 + amount)
    return total


def terms(data: ClusterArrays, assignment: IntArray) -> ClusterTerms:
    """The objective of a partition, term by term."""
    belongs = one_hot(data, assignment)
    label_tv = float(np.abs(belongs.T @ data.deviation).sum())
    shortfall = max(0.0, float((1.0 - belongs.T @ data.speed).max()))
    proximity = float(np.einsum("nk,nm,mk->", belongs, data.distance, belongs) / 2.0)
    labels, speed, near = data.weights
    return ClusterTerms(
        label_tv=label_tv,
        speed_shortfall=shortfall,
        proximity=proximity,
        total=labels * label_tv + speed * shortfall + near * proximity,
    )


def one_hot(data: ClusterArrays, assignment: IntArray) -> FloatArray:
    """``[N, K]`` 1 where a member is in a cluster."""
    belongs: FloatArray = (assignment[:, None] == np.arange(data.clusters)).astype(np.float64)
    return belongs


def sums(data: ClusterArrays, assignment: IntArray) -> Subset:
    """Sums of each cluster, ``[K]``."""
    belongs = one_hot(data, assignment)
    return Subset(
        capacity=belongs.T @ data.capacity,
        owner=belongs.T @ data.owner,
        size=belongs.sum(axis=0),
        unreachable=np.einsum("nk,nm,mk->k", belongs, data.unreachable, belongs) / 2.0,
    )
