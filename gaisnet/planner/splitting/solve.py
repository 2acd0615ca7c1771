"""The two front doors: a problem as users state it, and an instance as composers build it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from gaisnet.errors import UnprovenError
from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.evaluate import evaluate_split, objective_value
from gaisnet.planner.splitting.exact import search_instance
from gaisnet.planner.splitting.explain import why_infeasible
from gaisnet.planner.splitting.instance import SplitInstance, translate
from gaisnet.planner.splitting.problem import SplitProblem
from gaisnet.planner.splitting.ruled import LABELS_NAME, search_with_rules
from gaisnet.planner.splitting.solution import Objective, Segment, SplitSolution
from gaisnet.planner.splitting.tables import ChainTables, chain_tables, root_tables

__all__ = [
    "NodeLimit",
    "SolverName",
    "check_objective",
    "on_devices",
    "solve_instance",
    "solve_split",
]

SolverName = Literal["auto", "exact", "milp", "subset_dp"]
NodeLimit = int | Literal["auto"] | None
_DEFAULT_NODES = 80_000
_RULED_NODES_AT_48_BY_32 = 80_000
_RULED_NODES_EXPONENT = 1.3

_SEARCH_NAMES: dict[Objective, str] = {
    "latency": "lagrangian-astar",
    "energy": "lagrangian-astar",
    "period": "period-search",
    "makespan": "makespan-search",
}
_MILP_NAME = "segment-flow-highs"
_MILP_MOST_VARIABLES = 20_000
_MILP_NODES = 500
_LABELS_SHARE = 80
"""Under side constraints the programme is the stronger method: labels get one node in so many."""
_INVARIANT_TOLERANCE = 1e-6


def solve_split(
    problem: SplitProblem,
    objective: Objective,
    *,
    solver: SolverName = "auto",
    node_limit: NodeLimit = "auto",
    time_limit_s: float | None = None,
    gap: float = 0.0,
) -> SplitSolution:
    """Cut a model over devices so that ``objective`` is least, with a proven bound.

    Args:
        problem: Units, devices, links and rules.
        objective: ``latency``, ``period``, ``makespan`` (seconds) or ``energy`` (joules).
        solver: ``exact`` searches, ``milp`` solves the segment-flow programme, ``subset_dp`` is
            for at most 12 devices and takes no forced, together or apart devices and no budgets;
            ``auto`` searches, and lets the programme try what is left.
        node_limit: Search labels and branch-and-bound nodes to spend. ``auto`` keeps
            the hardest problems to about a minute; None sets no limit.
        time_limit_s: Wall-clock limit; with one, equal runs may differ.
        gap: Stop once (value - bound) / value is no more than this.

    Returns:
        Segments are ``(device_index, first_unit, last_unit)`` in the order of the chain. With
        status ``infeasible``, ``value``, ``bound`` and ``gap`` are None and ``reason`` says why.

    Raises:
        ValueError: The objective or solver has no such name, or ``subset_dp`` was asked for with
            more than 12 devices.
        UnprovenError: The limits ran out before anything was found or ruled out.
    """
    answer = solve_instance(
        translate(problem),
        objective,
        solver=solver,
        node_limit=node_limit,
        time_limit_s=time_limit_s,
        gap=gap,
    )
    if answer.value is None:
        return answer.model_copy(update={"reason": why_infeasible(problem, solve_instance)})
    segments = on_devices(problem, answer.segments)
    evaluation = evaluate_split(problem, segments)
    value = objective_value(evaluation, objective)
    assert not evaluation.violations, f"solver broke a constraint: {evaluation.violations}"
    assert math.isclose(value, answer.value, rel_tol=_INVARIANT_TOLERANCE, abs_tol=1e-12), (
        f"solver counts {answer.value}, the problem {value}"
    )
    return _certified(answer, segments, value)


def solve_instance(
    instance: SplitInstance,
    objective: Objective,
    *,
    solver: SolverName = "auto",
    node_limit: NodeLimit = "auto",
    time_limit_s: float | None = None,
    gap: float = 0.0,
) -> SplitSolution:
    """``solve_split`` for an instance; devices in ``segments`` are its rows.

    Raises:
        ValueError, UnprovenError: As ``solve_split``.
    """
    _check_names(objective, solver, instance)
    nodes = _default_nodes(instance) if node_limit == "auto" else node_limit
    budget = Budget(nodes, time_limit_s)
    root = root_tables(instance, chain_tables(instance, objective))
    if solver == "milp":
        found = _programme(instance, root, objective, budget, gap)
        return _answer(found, objective, _MILP_NAME, budget)
    if solver == "auto" and instance.rules and nodes is not None:
        budget.node_limit = nodes // _LABELS_SHARE
    found, name = _searched(instance, root, objective, budget, gap, solver)
    unproven = _gap(found) > max(gap, RELATIVE_TOLERANCE)
    if solver == "auto" and unproven and _has_programme(instance, root):
        found, name = _second_opinion(instance, root, objective, budget, gap, found, name)
    return _answer(found, objective, name, budget)


def _searched(
    instance: SplitInstance,
    root: ChainTables,
    objective: Objective,
    budget: Budget,
    gap: float,
    solver: SolverName,
) -> tuple[Found, str]:
    """What the search that suits the instance found, and its name."""
    if instance.rules:
        return search_with_rules(instance, root, objective, budget, gap), LABELS_NAME
    by_subsets = solver == "subset_dp"
    found = search_instance(instance, root, objective, budget, gap=gap, by_subsets=by_subsets)
    return found, "subset-dp" if by_subsets else _SEARCH_NAMES[objective]


def _default_nodes(instance: SplitInstance) -> int:
    """A count, not a time: the answer must be the same on every machine."""
    if not instance.rules:
        return _DEFAULT_NODES
    size = instance.devices * instance.units / (48 * 32)
    return int(_RULED_NODES_AT_48_BY_32 / max(size, 0.1) ** _RULED_NODES_EXPONENT)


def check_objective(objective: str) -> None:
    """Raises ValueError if there is no objective of that name."""
    if objective not in _SEARCH_NAMES:
        raise ValueError(f"objective must be one of {sorted(_SEARCH_NAMES)}, got {objective!r}")


def _check_names(objective: str, solver: str, instance: SplitInstance) -> None:
    check_objective(objective)
    if solver not in ("auto", "exact", "milp", "subset_dp"):
        raise ValueError(f"solver must be auto, exact, milp or subset_dp, got {solver!r}")
    if instance.rules and solver == "subset_dp":
        raise ValueError("subset_dp knows no side constraints that look at the whole chain")


def _has_programme(instance: SplitInstance, root: ChainTables) -> bool:
    """Whether the programme may do better: under side constraints always, else if it is small."""
    if instance.rules:
        return True
    variables = np.isfinite(root.segment_cost).sum() + np.isfinite(root.cut_cost).sum()
    return int(variables) <= _MILP_MOST_VARIABLES


def _programme(
    instance: SplitInstance, root: ChainTables, objective: Objective, budget: Budget, gap: float
) -> Found:
    """Only who needs a MILP solver pays for importing one."""
    from gaisnet.planner.splitting.segment_flow import SegmentFlow

    return SegmentFlow(instance, root, objective).solve(budget, gap)


def _second_opinion(
    instance: SplitInstance,
    root: ChainTables,
    objective: Objective,
    budget: Budget,
    gap: float,
    found: Found,
    name: str,
) -> tuple[Found, str]:
    """The programme's turn; the better chain and the better bound count."""
    left_s = None if budget.time_limit_s is None else budget.time_limit_s - budget.seconds
    if left_s is not None and left_s <= 0:
        return found, name
    other = _programme(instance, root, objective, Budget(_MILP_NODES, left_s), gap)
    best = other if other.path is not None and other.value < found.value else found
    bound = min(max(found.bound, other.bound), best.value)
    return Found(best.path, best.value, bound), f"{name}+{_MILP_NAME}"


def _gap(found: Found) -> float:
    if found.bound == math.inf or found.value == 0.0:
        return 0.0
    return (found.value - found.bound) / found.value if math.isfinite(found.value) else math.inf


def _answer(found: Found, objective: Objective, name: str, budget: Budget) -> SplitSolution:
    blank = SplitSolution(
        objective=objective,
        status="infeasible",
        value=None,
        segments=[],
        bound=None,
        gap=None,
        solver=name,
        seconds=budget.seconds,
        nodes=budget.nodes,
    )
    if found.path is None and found.bound == math.inf:
        return blank
    if found.path is None:
        raise UnprovenError(
            f"nothing was found or ruled out within {budget.nodes} nodes and "
            f"{budget.seconds:.1f} s",
            hint="raise node_limit or time_limit_s",
        )
    return _certified(blank.model_copy(update={"bound": found.bound}), found.path, found.value)


def _certified(answer: SplitSolution, segments: list[Segment], value: float) -> SplitSolution:
    """``answer`` with this split, its value, and the gap that follows."""
    bound = min(answer.bound or 0.0, value)
    proven = bound >= value * (1 - 2 * RELATIVE_TOLERANCE)
    return answer.model_copy(
        update={
            "status": "optimal" if proven else "feasible",
            "value": value,
            "segments": segments,
            "bound": value if proven else bound,
            "gap": 0.0 if proven else (value - bound) / value,
        }
    )


def on_devices(problem: SplitProblem, path: list[Segment]) -> list[Segment]:
    """Rows back to devices: the extra row of a U-shape is the owner."""
    devices = len(problem.devices)
    return [
        (row if row < devices else int(problem.owner or 0), first, last)
        for row, first, last in path
    ]
