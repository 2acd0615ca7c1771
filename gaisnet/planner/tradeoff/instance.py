"""A trade-off problem as arrays, scaled so that solvers see numbers near 1.

Index letters: ``C`` clusters, ``G`` groups, ``P`` allowed (group, cluster) pairs, ``2`` the queues
for compute and uplink. Latencies of a group are in units of its ``scale_s``, rates in requests per
``scale_s``, fine-tuning rates in units of what a cluster does that serves nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaisnet.planner.tradeoff.curves import full_rate, sojourn_terms, tail_margin
from gaisnet.planner.tradeoff.problem import TradeoffCluster, TradeoffProblem, UserGroup

__all__ = ["FloatArray", "Instance", "IntArray", "Pairs", "Tuning", "instance_of"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Everything that belongs to a (group, cluster) pair; the pair's group says the scale."""

    group: IntArray
    cluster: IntArray
    speed: FloatArray
    """``[P, 2]`` served with a full share; infinite where requests need nothing of it."""
    arrivals: FloatArray
    """``[P]`` of the whole group."""
    margin: FloatArray
    """``[P]`` least ``μ - λ``; 0 without a percentile."""
    limit: FloatArray
    """``[P]`` largest mean latency in queues; infinite without a mean SLO."""
    near: FloatArray
    """``[P]`` p of ``sojourn_terms``."""
    far: FloatArray
    """``[P]`` q of ``sojourn_terms``."""

    def __len__(self) -> int:
        return len(self.group)

    def pick(self, which: IntArray) -> Pairs:
        """The pairs ``which``."""
        fields = {name: getattr(self, name)[which] for name in self.__dataclass_fields__}
        return Pairs(**fields)


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Fine-tuning of one cluster in units of its full rate: ``r = 1 / Σ part / share`` (or the
    least of ``share / part``)."""

    cluster: int
    utility: float
    gamma: float
    rounds: float
    """r H / R0 at the full rate."""
    parts: tuple[float, float]
    """Of a round's time in compute and on the uplink, relative to the whole (or the longer)."""
    overlapped: bool

    def worth(self, rate: float) -> tuple[float, float]:
        """Utility of a relative rate, and its derivative."""
        base = math.log1p(self.rounds * rate)
        slope = self.utility * self.gamma * self.rounds * math.exp(-(self.gamma + 1.0) * base)
        return -self.utility * math.expm1(-self.gamma * base), slope


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A problem in numbers."""

    problem: TradeoffProblem
    pairs: Pairs
    tuning: tuple[Tuning, ...]
    scale_s: FloatArray
    """``[G]``"""
    weight: FloatArray
    """``[G]`` utility lost per ``scale_s`` of mean latency in queues."""
    lost: float
    """Utility that fixed latencies lose in any case."""

    @property
    def single(self) -> bool:
        """Whether each group is served by one cluster."""
        return self.problem.routing == "single"

    @property
    def size(self) -> float:
        """What objectives are divided by: they are near 1 then."""
        idle = sum(float(w) for w in self.weight)
        return sum(load.utility for load in self.tuning) + idle or 1.0


def instance_of(problem: TradeoffProblem) -> Instance:
    """``problem`` in numbers, without the pairs that break their SLO even alone at the cluster."""
    scale = np.array([_scale_s(problem, group) for group in problem.groups], dtype=np.float64)
    rows = [
        _pair(problem, g, c, float(scale[g]))
        for g, group in enumerate(problem.groups)
        for c, cluster in enumerate(problem.clusters)
        if group.clusters is None or cluster.id in group.clusters
    ]
    rows = [row for row in rows if _possible(row, problem.routing == "single")]
    return Instance(
        problem=problem,
        pairs=_stack(rows),
        tuning=tuple(
            _tuning(c, cluster)
            for c, cluster in enumerate(problem.clusters)
            if cluster.tuning is not None
        ),
        scale_s=scale,
        weight=scale * np.array([group.delay_weight for group in problem.groups]),
        lost=sum(group.delay_weight * group.fixed_s for group in problem.groups),
    )


def _scale_s(problem: TradeoffProblem, group: UserGroup) -> float:
    """What is left of the SLO for queues; without one, the time at the mean cluster, idle."""
    if group.slo_s is not None and group.slo_s > group.fixed_s:
        return group.slo_s - group.fixed_s
    count = len(problem.clusters)
    compute = sum(cluster.compute_flops_per_s for cluster in problem.clusters) / count
    uplink = sum(cluster.uplink_bytes_per_s for cluster in problem.clusters) / count
    return group.work_flops / compute + group.request_bytes / uplink


@dataclass(frozen=True, kw_only=True)
class _Pair:
    group: int
    cluster: int
    speed: tuple[float, float]
    arrivals: float
    margin: float
    limit: float
    near: float
    far: float


def _pair(problem: TradeoffProblem, g: int, c: int, scale_s: float) -> _Pair:
    group, cluster = problem.groups[g], problem.clusters[c]
    speed = (
        _ratio(cluster.compute_flops_per_s, group.work_flops) * scale_s,
        _ratio(cluster.uplink_bytes_per_s, group.request_bytes) * scale_s,
    )
    queues = sum(map(math.isfinite, speed))
    mean = group.slo_s is not None and group.slo_percentile is None
    near, far = sojourn_terms(group.service_scv)
    return _Pair(
        group=g,
        cluster=c,
        speed=speed,
        arrivals=group.rate_per_s * scale_s,
        margin=tail_margin(group, queues, problem.percentile_rule) * scale_s,
        limit=((group.slo_s or 0.0) - group.fixed_s) / scale_s if mean else math.inf,
        near=near,
        far=far,
    )


def _ratio(capacity: float, amount: float) -> float:
    return capacity / amount if amount > 0.0 else math.inf


def _possible(pair: _Pair, single: bool) -> bool:
    """Whether the cluster could serve the group (a trickle of it, if it may be split)."""
    arrivals = pair.arrivals if single else 0.0
    speeds = [speed for speed in pair.speed if math.isfinite(speed)]
    if any(speed - arrivals < pair.margin or speed <= arrivals for speed in speeds):
        return False
    return sum(pair.near / (s - arrivals) + pair.far / s for s in speeds) <= pair.limit


def _stack(rows: list[_Pair]) -> Pairs:
    def column(name: str) -> FloatArray:
        return np.array([getattr(row, name) for row in rows], dtype=np.float64)

    return Pairs(
        group=np.array([row.group for row in rows], dtype=np.int64),
        cluster=np.array([row.cluster for row in rows], dtype=np.int64),
        speed=column("speed").reshape(-1, 2),
        arrivals=column("arrivals"),
        margin=column("margin"),
        limit=column("limit"),
        near=column("near"),
        far=column("far"),
    )


def _tuning(c: int, cluster: TradeoffCluster) -> Tuning:
    load = cluster.tuning
    assert load is not None
    full = full_rate(cluster)
    compute_s = load.work_flops / cluster.compute_flops_per_s
    uplink_s = load.traffic_bytes / cluster.uplink_bytes_per_s
    return Tuning(
        cluster=c,
        utility=load.utility,
        gamma=load.gamma,
        rounds=full * load.horizon_s / load.scale_rounds,
        parts=(compute_s * full, uplink_s * full),
        overlapped=load.overlapped,
    )
