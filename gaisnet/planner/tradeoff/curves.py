"""Utilities, fine-tuning rates, latencies of queues: the functions that the models are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gaisnet.planner.tradeoff.problem import FineTuningLoad, TradeoffCluster, UserGroup

__all__ = [
    "full_rate",
    "mean_s",
    "percentile_s",
    "sojourn_terms",
    "tail_margin",
    "tuning_rate",
    "utility",
]


def utility(load: FineTuningLoad, rounds_per_s: float) -> float:
    """``A (1 - (1 + r H / R0) ** -gamma)``: concave and not decreasing in r."""
    rounds = rounds_per_s * load.horizon_s / load.scale_rounds
    return -load.utility * math.expm1(-load.gamma * math.log1p(rounds))


def tuning_rate(cluster: TradeoffCluster, compute_share: float, uplink_share: float) -> float:
    """Rounds per second; 0 where a share that is needed is 0."""
    load = cluster.tuning
    if load is None:
        return 0.0
    times = []
    for amount, capacity, share in (
        (load.work_flops, cluster.compute_flops_per_s, compute_share),
        (load.traffic_bytes, cluster.uplink_bytes_per_s, uplink_share),
    ):
        if amount > 0.0:
            times.append(amount / (capacity * share) if share > 0.0 else math.inf)
    return 1.0 / (max(times) if load.overlapped else sum(times))


def full_rate(cluster: TradeoffCluster) -> float:
    """Rounds per second of a cluster that serves nobody."""
    return tuning_rate(cluster, 1.0, 1.0)


def sojourn_terms(scv: float) -> tuple[float, float]:
    """``(p, q)`` of the mean sojourn ``p / (μ - λ) + q / μ`` of an M/G/1 queue.

    Pollaczek–Khinchine, ``1/μ + (1 + s²)/2 · λ / (μ (μ - λ))``, has p = (1 + s²)/2 and
    q = (1 - s²)/2. It is jointly convex in λ and μ iff q >= 0, that is s² <= 1; above, q = 0 is a
    convex upper bound.
    """
    return (1.0 + scv) / 2.0, max(0.0, (1.0 - scv) / 2.0)


def mean_s(group: UserGroup, arrivals_per_s: float, speeds_per_s: Sequence[float]) -> float:
    """Mean latency over queues in tandem, each seen as M/G/1 (Pollaczek–Khinchine, any SCV)."""
    scv, total = group.service_scv, group.fixed_s
    for speed in speeds_per_s:
        if speed <= arrivals_per_s:
            return math.inf
        total += (1.0 + scv) / 2.0 / (speed - arrivals_per_s) + (1.0 - scv) / 2.0 / speed
    return total


def tail_margin(group: UserGroup, queues: int, rule: str) -> float:
    """Least ``μ - λ`` of each queue that keeps the group's percentile; 0 if its SLO is a mean.

    The sojourn in an M/M/1 queue is exponential with rate μ - λ. With ε = 1 - percentile / 100,
    t the SLO without its fixed part and n queues:

    * ``union``: each queue may exceed t / n with probability ε / n: ``ln(n / ε) / (t / n)``.
    * ``independent``: sojourns in M/M/1 queues in tandem are independent (Burke, Reich), and the
      sum is stochastically largest with all at their minimum θ, where it is Erlang-n. So θ t is
      the ε-quantile of that: less for the same promise. n is 1 or 2.

    Services that vary less than exponential ones are taken as exponential, which is safe. For an
    SCV s² > 1 the margin grows by (1 + s²)/2, the heavy-traffic tail: an approximation.
    Infinite if the fixed part alone breaks the SLO.
    """
    if group.slo_s is None or group.slo_percentile is None:
        return 0.0
    left_s = group.slo_s - group.fixed_s
    if left_s <= 0.0:
        return math.inf
    epsilon = 1.0 - group.slo_percentile / 100.0
    if rule == "union" or queues == 1:
        quantile = queues * math.log(queues / epsilon)
    else:
        from scipy.special import lambertw

        quantile = -1.0 - float(lambertw(-epsilon / math.e, -1).real)
    return max(1.0, (1.0 + group.service_scv) / 2.0) * quantile / left_s


def percentile_s(
    group: UserGroup, arrivals_per_s: float, speeds_per_s: Sequence[float], percentile: float
) -> float:
    """Latency that ``percentile`` % of the requests stay below, from two moments.

    The sojourn is taken as gamma-distributed with the mean and variance of M/G/1 queues with
    gamma-distributed services (Takács: ``Var W = E[W]² + λ E[S³] / (3 (1 - ρ))``), which is exact
    for one M/M/1 queue. It is what is reported, and no bound.
    """
    mean = mean_s(group, arrivals_per_s, speeds_per_s)
    if math.isinf(mean):
        return mean
    scv, variance = group.service_scv, 0.0
    for speed in speeds_per_s:
        busy = arrivals_per_s / speed
        wait = busy * (1.0 + scv) / 2.0 / (speed - arrivals_per_s)
        third = (1.0 + scv) * (1.0 + 2.0 * scv) / speed**3
        variance += wait**2 + arrivals_per_s * third / (3.0 * (1.0 - busy)) + scv / speed**2
    queued = mean - group.fixed_s
    if variance == 0.0:
        return mean
    from scipy.special import gammaincinv

    shape = queued**2 / variance
    return group.fixed_s + float(gammaincinv(shape, percentile / 100.0)) * queued / shape
