"""First partitions: k-means on standardised features, and random ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gaisnet.planner.clustering.problem import ClusterProblem
from gaisnet.planner.clustering.terms import ClusterArrays, FloatArray, IntArray

__all__ = ["features", "k_means", "starts"]

MOST_WORK = 100_000
"""N · K, summed over random starts."""


def starts(problem: ClusterProblem, data: ClusterArrays) -> Iterator[IntArray]:
    """k-means first, then ``restarts`` random partitions of nearly equal sizes."""
    yield k_means(features(data), problem.clusters, problem.seed)
    generator = np.random.default_rng(problem.seed)
    affordable = MOST_WORK // (data.members * data.clusters)
    for _ in range(min(problem.restarts, affordable)):
        yield generator.permutation(np.arange(data.members) % problem.clusters)


def features(data: ClusterArrays) -> FloatArray:
    """Standardised round-trip times to all members, speed and memory: ``[N, N + 2]``.

    Label histograms are left out on purpose: k-means would put like with like, the opposite of
    what averaging wants.
    """
    raw = np.column_stack([data.distance, data.speed, data.capacity])
    spread = raw.std(axis=0)
    standard: FloatArray = (raw - raw.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    standard[:, : data.members] /= np.sqrt(data.members)
    return standard


def k_means(points: FloatArray, clusters: int, seed: int) -> IntArray:
    """Lloyd's algorithm with k-means++ starts, on one thread so that it is reproducible."""
    if len(np.unique(points, axis=0)) <= clusters:
        return np.arange(len(points), dtype=np.int64) % clusters
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        fitted = KMeans(n_clusters=clusters, n_init=4, random_state=seed % 2**32).fit(points)
    return np.asarray(fitted.labels_, dtype=np.int64)
