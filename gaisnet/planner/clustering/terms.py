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
    contrast: FloatArray
    """``[N, N]`` label distances of pairs, relative to the sum over all pairs."""
    unreachable: FloatArray
    """``[N, N]`` 1 where two members must not meet."""
    clusters: int
    weights: tuple[float, float, float]
    """Of labels, speed and proximity."""
    mixed: bool
    """Whether label distributions of clusters should be alike, or those within a cluster."""
    pair_cost: FloatArray
    """``[N, N]`` what two members of one cluster add to the objective."""
    sizes: tuple[int, int]
    """Fewest and most members."""

    @property
    def members(self) -> int:
        """N."""
        return len(self.capacity)

    def label_cost(self, deviation: FloatArray) -> FloatArray:
        """What clusters of summed deviations ``[..., Y]`` add to the objective."""
        weight = self.weights[0] if self.mixed else 0.0
        cost: FloatArray = weight * np.abs(deviation).sum(axis=-1)
        return cost


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
    distance, contrast = _parts(finite), _parts(_contrast(problem))
    mixed = problem.policy == "mix"
    alike = 0.0 if mixed else problem.label_weight
    return ClusterArrays(
        capacity=capacity / need if need > 0.0 else np.ones(count),
        owner=np.array([float(m.owner) for m in members]),
        speed=speed / mean_speed if mean_speed > 0.0 else np.ones(count) * problem.clusters,
        deviation=_deviations(problem),
        distance=distance,
        contrast=contrast,
        pair_cost=problem.proximity_weight * distance + alike * contrast,
        mixed=mixed,
        unreachable=(~np.isfinite(round_trip)).astype(np.float64),
        clusters=problem.clusters,
        weights=(problem.label_weight, problem.speed_weight, problem.proximity_weight),
        sizes=(problem.min_devices, problem.max_devices or count),
    )


def _parts(pairs: FloatArray) -> FloatArray:
    """Relative to the sum over all pairs, if there is any."""
    total = float(pairs.sum()) / 2.0
    return pairs / total if total > 0.0 else pairs


def _counts(problem: ClusterProblem) -> FloatArray:
    """``[N, Y]`` samples per class."""
    classes = max((len(m.label_counts) for m in problem.members), default=0)
    counts = np.zeros((len(problem.members), max(classes, 1)))
    for row, member in zip(counts, problem.members, strict=True):
        row[: len(member.label_counts)] = member.label_counts
    return counts


def _contrast(problem: ClusterProblem) -> FloatArray:
    """Total variation between two members' labels, weighted by the product of their samples."""
    counts = _counts(problem)
    samples = counts.sum(axis=1)
    shares = counts / np.where(samples > 0.0, samples, 1.0)[:, None]
    variation = np.zeros((len(counts), len(counts)))
    for share in shares.T:
        variation += np.abs(share[:, None] - share[None, :]) / 2.0
    weighed: FloatArray = variation * np.outer(samples, samples)
    return weighed


def _deviations(problem: ClusterProblem) -> FloatArray:
    """Members without label counts deviate by nothing."""
    counts = _counts(problem)
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
        if np.any(amount):
            total = total + (amount > 0.0) * (1.0 + amount)
    return total


def terms(data: ClusterArrays, assignment: IntArray) -> ClusterTerms:
    """The objective of a partition, term by term."""
    belongs = one_hot(data, assignment)
    label_tv = float(np.abs(belongs.T @ data.deviation).sum())
    shortfall = max(0.0, float((1.0 - belongs.T @ data.speed).max()))

    def within(pairs: FloatArray) -> float:
        return float((belongs * (pairs @ belongs)).sum()) / 2.0

    proximity, spread = within(data.distance), within(data.contrast)
    labels, speed, near = data.weights
    return ClusterTerms(
        label_tv=label_tv,
        label_spread=spread,
        speed_shortfall=shortfall,
        proximity=proximity,
        total=labels * (label_tv if data.mixed else spread) + speed * shortfall + near * proximity,
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
        unreachable=(belongs * (data.unreachable @ belongs)).sum(axis=0) / 2.0,
    )
