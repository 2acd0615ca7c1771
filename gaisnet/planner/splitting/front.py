"""The exact Pareto front of two objectives, with labels that carry both (``labels``).

Complete chains leave the queue in the order of the first objective, ties in that of the second;
a chain is on the front if and only if the second is below that of every chain before it. So each
chain found is the answer of one epsilon-constraint problem, *least first objective with the second
below epsilon*, epsilon being the last chain's, and no point lies between two of them.
"""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget
from gaisnet.planner.splitting.evaluate import evaluate_split, objective_value
from gaisnet.planner.splitting.explain import why_infeasible
from gaisnet.planner.splitting.instance import translate
from gaisnet.planner.splitting.problem import SplitProblem
from gaisnet.planner.splitting.ruled import search_labels
from gaisnet.planner.splitting.solution import Objective, Segment
from gaisnet.planner.splitting.solve import check_objective, on_devices, solve_instance
from gaisnet.planner.splitting.tables import chain_tables, root_tables

__all__ = ["FrontPoint", "SplitFront", "solve_split_front"]

_NODES = 20_000


class FrontPoint(BaseModel):
    """A split that no other beats in both objectives."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    values: tuple[float, float]
    """In the order of the front's objectives."""
    segments: list[Segment]


class SplitFront(BaseModel):
    """All splits worth choosing from, with a certificate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objectives: tuple[Objective, Objective]
    points: tuple[FrontPoint, ...]
    """The first objective rises and the second falls; of splits that are equal in both to a
    relative 1e-9 one is listed. Empty if the problem is infeasible."""
    complete: bool
    """Every split that is not listed is beaten by, or equal to, one that is (before thinning).
    False: the node limit came first, points may be missing, and better ones may exist."""
    nodes: int
    reason: str | None = None
    """Why there are no points."""


def solve_split_front(
    problem: SplitProblem,
    objectives: tuple[Objective, Objective] = ("latency", "energy"),
    *,
    points: int | None = None,
    node_limit: int | None = _NODES,
) -> SplitFront:
    """The exact Pareto front of two objectives, for small problems (up to about 16 devices).

    Args:
        problem: Units, devices, links and rules; side constraints hold for every point.
        objectives: Two different ones of latency, period, makespan and energy.
        points: At most so many, spread evenly over the front, both ends included (at least 2).
        node_limit: Labels to extend; None sets no limit.

    Raises:
        ValueError: An objective has no such name, both are the same, or ``points`` is below 2.
    """
    for objective in objectives:
        check_objective(objective)
    if len(objectives) != 2 or objectives[0] == objectives[1]:
        raise ValueError(f"a front has two different objectives, got {objectives}")
    if points is not None and points < 2:
        raise ValueError(f"points must be at least 2, got {points}")
    instance, budget = translate(problem), Budget(node_limit)
    root = root_tables(instance, chain_tables(instance, "latency"))
    found, still_open = search_labels(instance, root, objectives, budget)
    kept = _front(problem, objectives, [on_devices(problem, list(each.path)) for each in found])
    complete = math.isinf(still_open)
    return SplitFront(
        objectives=objectives,
        points=tuple(_spread(kept, points)),
        complete=complete,
        nodes=budget.nodes,
        reason=why_infeasible(problem, solve_instance) if complete and not kept else None,
    )


def _front(
    problem: SplitProblem, objectives: tuple[Objective, Objective], splits: list[list[Segment]]
) -> list[FrontPoint]:
    """Branches of a U-shape are searched one after the other: what a later one beats goes."""
    judged = []
    for segments in splits:
        figures = evaluate_split(problem, segments)
        assert not figures.violations, f"search broke a constraint: {figures.violations}"
        values = (
            objective_value(figures, objectives[0]),
            objective_value(figures, objectives[1]),
        )
        judged.append(FrontPoint(values=values, segments=segments))
    kept: list[FrontPoint] = []
    for point in sorted(judged, key=lambda each: each.values):
        if kept and point.values[1] >= kept[-1].values[1] * (1 - RELATIVE_TOLERANCE):
            continue
        if kept and point.values[0] <= kept[-1].values[0] * (1 + RELATIVE_TOLERANCE):
            kept.pop()
        kept.append(point)
    return kept


def _spread(points: list[FrontPoint], most: int | None) -> list[FrontPoint]:
    if most is None or len(points) <= most:
        return points
    return [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]
