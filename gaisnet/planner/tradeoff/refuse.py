"""Which group makes a problem infeasible, and the loosest SLO that it needs."""

from __future__ import annotations

import math
from collections.abc import Collection

from gaisnet.planner.tradeoff.instance import instance_of
from gaisnet.planner.tradeoff.kelley import Search
from gaisnet.planner.tradeoff.master import Master
from gaisnet.planner.tradeoff.problem import TradeoffProblem, UserGroup
from gaisnet.planner.tradeoff.single import keep_slos
from gaisnet.planner.tradeoff.solution import LooserSlo

__all__ = ["feasible", "unserved", "why_infeasible"]

LOOSEST = 1e4
"""Factor on an SLO beyond which it is given up."""
PRECISION = 1e-3
MOST_CANDIDATES = 3
"""Groups whose SLO alone is tried, those first that leave their queues least room."""

NODES = 100
ROUNDS = 6
"""Limits of one question; beyond them the answer is no, so that an SLO named always does."""

Reason = tuple[str, LooserSlo | None]


def feasible(problem: TradeoffProblem) -> bool:
    """Whether SLOs, capacities and memory are seen to hold; fine-tuning may get nothing."""
    idle = tuple(cluster.model_copy(update={"tuning": None}) for cluster in problem.clusters)
    instance = instance_of(problem.model_copy(update={"clusters": idle, "node_limit": NODES}))
    if unserved(problem, set(instance.pairs.group.tolist())):
        return False
    if instance.single:
        return keep_slos(instance).best is not None
    search = Search(instance=instance, master=Master(instance), target=math.inf)
    search.relax()
    if search.bound > -math.inf:
        search.prove(ROUNDS)
    return search.best is not None


def unserved(problem: TradeoffProblem, served: Collection[int]) -> list[UserGroup]:
    """Groups without any pair."""
    return [group for g, group in enumerate(problem.groups) if g not in served]


def why_infeasible(problem: TradeoffProblem) -> Reason:
    """The first of: a group alone, one group beside the others, all groups together."""
    for group in problem.groups:
        if group.clusters == ():
            return f"group {group.id}: no cluster may serve it", LooserSlo(
                group=group.id, slo_s=None, beside="alone"
            )
        alone = problem.model_copy(update={"groups": (group,)})
        if not feasible(alone):
            return _words(group, _loosest(alone, {group.id}), "alone")
    for group in _tightest_first(problem)[:MOST_CANDIDATES]:
        slo_s = _loosest(problem, {group.id})
        if slo_s is not None:
            return _words(group, slo_s, "others as they are")
    tightest = _tightest_first(problem)[0]
    everybody = {group.id for group in problem.groups}
    return _words(tightest, _loosest(problem, everybody), "all loosened alike")


def _tightest_first(problem: TradeoffProblem) -> list[UserGroup]:
    """By the part of the fleet's compute and uplink that meeting the SLO takes."""
    compute = sum(cluster.compute_flops_per_s for cluster in problem.clusters)
    uplink = sum(cluster.uplink_bytes_per_s for cluster in problem.clusters)

    def taken(group: UserGroup) -> float:
        left_s = math.inf if group.slo_s is None else max(group.slo_s - group.fixed_s, 1e-12)
        per_s = group.work_flops / compute + group.request_bytes / uplink
        return -per_s * (group.rate_per_s + 1.0 / left_s)

    with_slo = [group for group in problem.groups if group.slo_s is not None]
    return sorted(with_slo or problem.groups, key=taken)


def _loosest(problem: TradeoffProblem, ids: Collection[str]) -> float | None:
    """SLO of the tightest group of ``ids`` at the least common factor that does; None: none."""
    with_slo = [group for group in problem.groups if group.id in ids and group.slo_s is not None]
    if not with_slo or not feasible(_loosened(problem, ids, LOOSEST)):
        return None
    low, high = 0.0, math.log(LOOSEST)
    while high - low > PRECISION:
        middle = (low + high) / 2.0
        if feasible(_loosened(problem, ids, math.exp(middle))):
            high = middle
        else:
            low = middle
    tightest = next(group for group in _tightest_first(problem) if group.id in ids)
    return (tightest.slo_s or 0.0) * math.exp(high)


def _loosened(problem: TradeoffProblem, ids: Collection[str], factor: float) -> TradeoffProblem:
    groups = tuple(
        group.model_copy(update={"slo_s": group.slo_s * factor})
        if group.id in ids and group.slo_s is not None
        else group
        for group in problem.groups
    )
    return problem.model_copy(update={"groups": groups})


def _words(group: UserGroup, slo_s: float | None, beside: str) -> Reason:
    looser = LooserSlo.model_validate({"group": group.id, "slo_s": slo_s, "beside": beside})
    if slo_s is None:
        return f"group {group.id}: no SLO would do ({beside}): load or memory is too much", looser
    return (
        f"group {group.id}: its SLO of {group.slo_s:.4g} s cannot be met ({beside}); "
        f"{slo_s:.4g} s could",
        looser,
    )
