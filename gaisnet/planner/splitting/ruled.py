"""Side constraints that no table can hold: the searches first, then labels, then the programme.

Without those rules the problem is a relaxation: if its optimum happens to obey them, it is the
optimum; otherwise its bound still holds. What is left is searched with labels that carry every
limited sum (``labels``), and by the segment-flow programme, which has a row for each rule.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.exact import search_instance
from gaisnet.planner.splitting.instance import SplitInstance, energy_allowance, time_allowance
from gaisnet.planner.splitting.labels import Goal, LabelSearch, Point
from gaisnet.planner.splitting.rules import Allowance
from gaisnet.planner.splitting.solution import Objective
from gaisnet.planner.splitting.symmetry import interchangeable_under
from gaisnet.planner.splitting.tables import ChainTables, branch, head_ends

__all__ = ["LABELS_NAME", "search_labels", "search_with_rules"]

LABELS_NAME = "label-search"
_RELAXED_SHARE = 4
"""The relaxation may spend one part in so many of the nodes."""


def search_with_rules(
    instance: SplitInstance, root: ChainTables, objective: Objective, budget: Budget, gap: float
) -> Found:
    """Best chain of ``instance`` that obeys its rules, below no cutoff."""
    nodes = None if budget.node_limit is None else budget.node_limit // _RELAXED_SHARE
    easier = Budget(nodes, budget.time_limit_s)
    relaxed = search_instance(instance, root, objective, easier, gap=gap)
    budget.nodes += easier.nodes
    if relaxed.path is None and relaxed.bound == math.inf:
        return relaxed
    known: list[Point] = []
    if relaxed.path is not None and instance.rules.allow(relaxed.path):
        if relaxed.bound >= relaxed.value * (1 - max(gap, RELATIVE_TOLERANCE)):
            return relaxed
        known = [Point((relaxed.value,), tuple(relaxed.path))]
    points, bound = search_labels(instance, root, (objective,), budget, gap=gap, known=known)
    best = min(points, key=lambda point: point.values, default=None)
    if best is None:
        return Found(None, math.inf, max(bound, relaxed.bound))
    value = best.values[0]
    return Found(list(best.path), value, min(max(bound, relaxed.bound), value))


def search_labels(
    instance: SplitInstance,
    root: ChainTables,
    objectives: tuple[Objective, ...],
    budget: Budget,
    *,
    gap: float = 0.0,
    known: list[Point] | None = None,
) -> tuple[list[Point], float]:
    """Chains that obey the rules and that no other beats in every objective.

    Returns:
        The chains, and a lower bound of the first objective over all others that might belong to
        them; infinite when the search was complete.
    """
    measures = _measures(instance)
    goals = [_goal(objective, instance.microbatches) for objective in objectives]
    points, bound = list(known or ()), math.inf
    full = [_as_tables(root, measure) for measure in measures]
    twins = interchangeable_under([root, *full], instance.rules, instance.two_ends or ())
    for j in head_ends(instance, root):
        tables = branch(instance, root, j)
        search = LabelSearch(tables, measures, goals, instance.rules, twins, points)
        bound = min(bound, search.run(budget, gap))
    return points, bound


def _measures(instance: SplitInstance) -> list[Allowance]:
    """Seconds, joules, whatever else is limited, and the uses of devices that must be used: as
    limited sums they get a price, and with it a bound."""
    limited = {each.name: each for each in instance.rules.allowances}
    energy = limited.pop("energy_budget_j", None) or energy_allowance(instance)
    uses = [_use(instance, row) for row in sorted(set(instance.rules.forced))]
    return [time_allowance(instance), energy, *limited.values(), *uses]


def _use(instance: SplitInstance, row: int) -> Allowance:
    """At least one segment on ``row``, as a sum that must not exceed -1."""
    segment = np.zeros((instance.devices, instance.units, instance.units))
    segment[row] = -1.0
    return Allowance(
        name=f"use of {row}", segment=segment, cut=np.zeros_like(instance.hop_j), limit=-1.0
    )


def _goal(objective: Objective, microbatches: int) -> Goal:
    return {
        "latency": Goal(0, 1.0, 0.0),
        "period": Goal(0, 0.0, 1.0),
        "makespan": Goal(0, 1.0, microbatches - 1.0),
        "energy": Goal(1, 1.0, 0.0),
    }[objective]


def _as_tables(root: ChainTables, measure: Allowance) -> ChainTables:
    """A measure as additive costs, where ``root`` allows anything."""
    return replace(
        root,
        segment_cost=np.where(np.isfinite(root.segment_cost), measure.segment, np.inf),
        cut_cost=np.where(np.isfinite(root.cut_cost), measure.cut, np.inf),
    )
