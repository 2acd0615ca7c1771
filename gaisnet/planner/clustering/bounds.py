"""Lower bounds on the objective of any partition, for problems too large for a proof."""

from __future__ import annotations

import numpy as np

from gaisnet.planner.clustering.terms import ClusterArrays, FloatArray

__all__ = ["lower_bound", "pair_bound", "speed_bound"]

BISECTIONS = 60


def lower_bound(data: ClusterArrays) -> float:
    """No allowed partition has a smaller objective: the sum of bounds on its terms.

    Label balance may be perfect for all that this knows.
    """
    return pair_bound(data) + data.weights[1] * speed_bound(data)


def speed_bound(data: ClusterArrays) -> float:
    """Beside the cluster of the fastest member the others share what is left."""
    if data.clusters == 1:
        return 0.0
    rest = float(data.speed.sum() - data.speed.max())
    return max(0.0, 1.0 - rest / (data.clusters - 1))


def pair_bound(data: ClusterArrays) -> float:
    """Costs of pairs within clusters, weighted."""
    floors, price = pair_floors(data)
    return max(0.0, float(floors.sum()) - price * data.clusters) * (1.0 - 1e-12)


def pair_floors(data: ClusterArrays) -> tuple[FloatArray, float]:
    """``[N]`` floors f and a price μ: clusters of the members M pay for pairs at least
    ``Σ_{i in M} f_i - μ`` times their number.

    In a cluster of n each member i pays half of n - 1 pairs, and no less than g_i(n), half of its
    n - 1 cheapest. A cluster of n counts once as n times 1/n, so that sizes satisfy
    ``Σ_i 1 / n_i = K``: for every multiplier μ, ``Σ_i min_n (g_i(n) + μ / n) - μ K`` is a bound.
    It is concave in μ; its slope Σ 1 / n_i - K falls, which bisection uses.
    """
    count, clusters = data.members, data.clusters
    fewest, most = data.sizes
    largest = min(most, count - (clusters - 1) * fewest)
    if largest < fewest:
        return np.zeros(count), 0.0
    paid = _paid(data.pair_cost, largest)[:, fewest - 1 :]
    inverse = 1.0 / np.arange(fewest, largest + 1)
    low, high = 0.0, max(1.0, float(paid[:, -1].max())) * largest**2
    best, floors, chosen = -np.inf, np.zeros(count), 0.0
    for _ in range(BISECTIONS):
        price = (low + high) / 2.0
        costs = paid + price * inverse
        sizes = costs.argmin(axis=1)
        least = costs[np.arange(count), sizes]
        if float(least.sum()) - price * clusters > best:
            best, floors, chosen = float(least.sum()) - price * clusters, least, price
        if inverse[sizes].sum() > clusters:
            low = price
        else:
            high = price
    return floors, chosen


def _paid(pair_cost: FloatArray, largest: int) -> FloatArray:
    """``[N, largest]`` least that a member pays in a cluster of 1 .. ``largest``."""
    others = pair_cost + np.diag(np.full(len(pair_cost), np.inf))
    cheapest = np.sort(others, axis=1)[:, : largest - 1]
    paid = np.zeros((len(pair_cost), largest))
    paid[:, 1:] = np.cumsum(cheapest, axis=1) / 2.0
    return paid
