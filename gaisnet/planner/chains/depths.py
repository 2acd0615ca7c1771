"""Head and tail depths that owners can hold, and a lower bound of each.

The bound is the cheapest way through the body if holders could be visited again and had memory
without end: a path in the graph of units and holders.
"""

from __future__ import annotations

import numpy as np

from gaisnet.planner.chains.allowances import inner_rules
from gaisnet.planner.chains.body import Body, FloatArray
from gaisnet.planner.chains.task import SplitTask
from gaisnet.planner.cost import CostModel

__all__ = ["depth_bounds", "depths"]


def depths(n_units: int, task: SplitTask) -> list[tuple[int, int]]:
    """``(head_units, tail_first_unit)`` that the rules allow, memory aside."""
    pairs = [] if task.needs_body else [(n_units, n_units)]
    if not task.whole and task.holders:
        pairs += _with_body(n_units, task)
    return [
        ends for ends in pairs if ends != task.other_ends and not task.rules.splits_units(*ends)
    ]


def _with_body(n_units: int, task: SplitTask) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    for head in range(max(1, task.min_head_units), n_units):
        if task.topology == "vanilla":
            pairs.append((head, n_units))
        else:
            pairs += [(head, t) for t in range(head + 1, n_units - max(1, task.min_tail_units) + 1)]
    return pairs


def depth_bounds(cost: CostModel, body: Body) -> list[tuple[float, int, int]]:
    """Bound, head and tail of each depth that fits into every owner's memory, cheapest first.

    Bounds are of the cluster's objective, sums over turns.
    """
    task = body.task
    bounds = _body_bounds(body) if task.holders else np.zeros((0, 0))
    found = []
    for head, tail in filter(body.may_fit, depths(cost.n_units, task)):
        if head < tail and inner_rules(body, head, tail) is None:
            continue
        if head == tail:
            bound = task.value(cost, task.chain(head, tail, ()))
        else:
            bound = float(bounds[head, tail])
        if np.isfinite(bound):
            found.append((bound, head, tail))
    return sorted(found)


def _body_bounds(body: Body) -> FloatArray:
    """``[L+1, L+1]`` lower bounds with a body, in the units of the cluster's objective."""
    task, turns = body.task, body.task.turns
    if task.objective == "period":
        return turns * _longest_stage(body) + body.least_moving()
    if task.objective == "energy":
        passes = turns * task.microbatches
        work_j = body.work_j + body.moving / passes
        joules = _cheapest(work_j, body.hop_j, body.entry.energy_j, body.leave.energy_j)
        return passes * joules + body.all_ends_moving()
    work_s, ways = body.work_s + body.moving / turns, (body.entry, body.leave)
    latency_s = _cheapest(work_s, body.hop_s, ways[0].through_s, ways[1].through_s)
    if task.objective == "makespan" and task.microbatches > 1:
        latency_s = latency_s + (task.microbatches - 1) * _longest_stage(body)
    return turns * latency_s + body.all_ends_moving()


def _cheapest(
    work: FloatArray, hop: FloatArray, entry: FloatArray, leave: FloatArray
) -> FloatArray:
    """``[L+1, L+1]`` least cost from entry at h to exit at t (inf where t <= h)."""
    units = work.shape[1]
    cost = np.full((units + 1, units + 1), np.inf)
    ways = hop.copy()
    ways[np.arange(len(work)), np.arange(len(work))] = 0.0
    for head in range(units):
        at = entry[head] + work[:, head]
        cost[head, head + 1] = (at + leave[head + 1]).min()
        for unit in range(head + 1, units):
            at = (at[:, None] + ways[:, :, unit - 1]).min(axis=0) + work[:, unit]
            cost[head, unit + 1] = (at + leave[unit + 1]).min()
    return cost


def _longest_stage(body: Body) -> FloatArray:
    """``[L+1, L+1]`` lower bound of the period: some stages are there in every chain."""
    units = body.work_s.shape[1]
    heaviest = np.full((units + 1, units + 1), np.inf)
    least = body.work_s.min(axis=0)
    entry_s, leave_s = body.entry.stage_s.min(axis=1), body.leave.stage_s.min(axis=1)
    for head in range(units):
        for tail in range(head + 1, units + 1):
            busy = body.busy_s(head, tail)
            own = busy.max() if body.task.turns == 1 else busy.mean()
            stages = (own, least[head:tail].max(), entry_s[head], leave_s[tail])
            heaviest[head, tail] = max(map(float, stages))
    return heaviest
