"""Shares of compute and links for fine-tuning and inference, with a certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gaisnet.planner.tradeoff.instance import Instance, instance_of
from gaisnet.planner.tradeoff.kelley import Search, relative_gap
from gaisnet.planner.tradeoff.large import improve, round_off
from gaisnet.planner.tradeoff.master import Master
from gaisnet.planner.tradeoff.problem import TradeoffProblem
from gaisnet.planner.tradeoff.refuse import unserved, why_infeasible
from gaisnet.planner.tradeoff.report import cluster_shares, routes
from gaisnet.planner.tradeoff.single import SingleSearch, find_any
from gaisnet.planner.tradeoff.solution import TradeoffSolution

if TYPE_CHECKING:
    from gaisnet.planner.tradeoff.shares import Shares

__all__ = ["solve_tradeoff"]

SINGLE = "cuts at prices, local search, branch and bound (HiGHS, CLARABEL)"
EXACT = "outer approximation (HiGHS, CLARABEL)"
LARGE = "relaxation, rounding, cluster pairs (HiGHS, CLARABEL)"
MOST_REFUSED = 4
"""Routings without shares after which the search ends."""


@dataclass(kw_only=True)
class _Found:
    best: Shares | None
    bound: float
    """-inf: proven infeasible."""
    nodes: int
    solver: str


def solve_tradeoff(problem: TradeoffProblem) -> TradeoffSolution:
    """Shares and routing of the largest value, or why there are none.

    Single-homed: cuts at prices bound the value (generalised Benders), local search and branch and
    bound propose who serves whom; above ``exact_up_to_pairs`` the bound is that of the relaxation.
    Fractional: outer approximation (Duran and Grossmann). A convex program finds the best shares
    of the routing. Equal problems have equal solutions unless a time limit is set.
    """
    instance = instance_of(problem)
    if unserved(problem, set(instance.pairs.group.tolist())):
        return _infeasible(problem, 0)
    exact = len(instance.pairs) <= problem.exact_up_to_pairs
    found = (_single if instance.single else _fractional)(instance, exact)
    if found.best is not None:
        return _solution(instance, found, found.best)
    if found.bound == -math.inf:
        return _infeasible(problem, found.nodes)
    return TradeoffSolution(
        status="unknown",
        reason="limits ended the search before it found who serves whom",
        solver=found.solver,
        nodes=found.nodes,
    )


def _single(instance: Instance, exact: bool) -> _Found:
    """cvxpy takes a second to import: only here."""
    from gaisnet.planner.tradeoff.shares import solve_shares

    search = SingleSearch(instance=instance, target=instance.problem.gap)
    search.run(wide=exact)
    shares = None
    for _ in range(MOST_REFUSED):
        if search.best is None and not search.closed:
            find_any(search)
        if search.best is None:
            break
        outcome = solve_shares(instance, search.used)
        shares = outcome.shares
        if shares is not None:
            break
        search.refuse(proven=outcome.proven)
        search.resume(wide=exact)
    bound = search.bound - instance.lost
    return _Found(best=shares, bound=bound, nodes=search.nodes, solver=SINGLE)


def _fractional(instance: Instance, exact: bool) -> _Found:
    search = Search(instance=instance, master=Master(instance), target=instance.problem.gap)
    relaxed = search.relax()
    if relaxed.found and exact:
        search.prove()
    elif relaxed.found:
        round_off(search, relaxed)
        improve(search)
    solver = EXACT if exact else LARGE
    return _Found(best=search.best, bound=search.bound, nodes=search.nodes, solver=solver)


def _infeasible(problem: TradeoffProblem, nodes: int) -> TradeoffSolution:
    reason, looser = why_infeasible(problem)
    return TradeoffSolution(status="infeasible", reason=reason, looser_slo=looser, nodes=nodes)


def _solution(instance: Instance, found: _Found, best: Shares) -> TradeoffSolution:
    gap = relative_gap(best.value, found.bound)
    return TradeoffSolution(
        status="optimal" if gap <= instance.problem.gap else "feasible",
        routes=routes(instance, best),
        shares=cluster_shares(instance, best),
        value=best.value,
        bound=max(found.bound, best.value),
        gap=gap,
        solver=found.solver,
        nodes=found.nodes,
    )
