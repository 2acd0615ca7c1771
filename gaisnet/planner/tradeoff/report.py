"""Shares as the solver has them, put into the words and units of the problem."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from gaisnet.planner.tradeoff.curves import mean_s, percentile_s, tuning_rate, utility
from gaisnet.planner.tradeoff.instance import Instance
from gaisnet.planner.tradeoff.solution import ClusterShares, GroupRoute

if TYPE_CHECKING:
    from gaisnet.planner.tradeoff.shares import Shares

__all__ = ["cluster_shares", "routes"]


def routes(instance: Instance, shares: Shares) -> tuple[GroupRoute, ...]:
    """One per pair that is served, in the order of groups and clusters."""
    return tuple(_route(instance, shares, u) for u in range(len(shares.used)))


def _route(instance: Instance, shares: Shares, u: int) -> GroupRoute:
    problem, pairs, p = instance.problem, instance.pairs, shares.used[u]
    group, cluster = problem.groups[pairs.group[p]], problem.clusters[pairs.cluster[p]]
    scale_s = float(instance.scale_s[pairs.group[p]])
    rate = float(shares.flow[u]) / scale_s
    speeds = [
        float(pairs.speed[p, q] * shares.share[u, q]) / scale_s
        for q in range(2)
        if math.isfinite(pairs.speed[p, q])
    ]
    percentile = group.slo_percentile
    needed = np.isfinite(pairs.speed[p])
    return GroupRoute(
        group=group.id,
        cluster=cluster.id,
        rate_per_s=rate,
        compute_share=float(shares.share[u, 0]) if needed[0] else 0.0,
        uplink_share=float(shares.share[u, 1]) if needed[1] else 0.0,
        mean_s=mean_s(group, rate, speeds),
        percentile_s=None if percentile is None else percentile_s(group, rate, speeds, percentile),
    )


def cluster_shares(instance: Instance, shares: Shares) -> tuple[ClusterShares, ...]:
    """One per cluster, in the problem's order."""
    return tuple(_cluster(instance, shares, c) for c in range(len(instance.problem.clusters)))


def _cluster(instance: Instance, shares: Shares, c: int) -> ClusterShares:
    problem = instance.problem
    cluster = problem.clusters[c]
    compute, uplink = (float(share) for share in shares.tuning[c])
    rate = tuning_rate(cluster, compute, uplink)
    here = [p for p in shares.used if instance.pairs.cluster[p] == c]
    domains = sorted({problem.groups[instance.pairs.group[p]].domain for p in here})
    return ClusterShares(
        cluster=cluster.id,
        compute_share=compute if cluster.tuning is not None else 0.0,
        uplink_share=uplink if cluster.tuning is not None else 0.0,
        rounds_per_s=rate,
        utility=0.0 if cluster.tuning is None else utility(cluster.tuning, rate),
        compute_price=float(shares.price[c, 0]) / cluster.compute_flops_per_s,
        uplink_price=float(shares.price[c, 1]) / cluster.uplink_bytes_per_s,
        domains=tuple(domains),
        modules_bytes=sum(problem.modules_bytes.get(domain, 0.0) for domain in domains),
    )
