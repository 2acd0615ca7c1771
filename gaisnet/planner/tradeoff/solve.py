"""Shares of compute and links for fine-tuning and inference, with a certificate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gaisnet.planner.tradeoff.instance import Instance, instance_of
from gaisnet.planner.tradeoff.kelley import Search, relative_gap
from gaisnet.planner.tradeoff.large import improve, round_off
from gaisnet.planner.tradeoff.master import Master
from gaisnet.planner.tradeoff.problem import TradeoffProblem
from gaisnet.planner.tradeoff.refuse import unserved, why_infeasible
from gaisnet.planner.tradeoff.report import cluster_shares, routes
from gaisnet.planner.tradeoff.solution import TradeoffSolution

if TYPE_CHECKING:
    from gaisnet.planner.tradeoff.shares import Shares

__all__ = ["solve_tradeoff"]

EXACT = "outer approximation (HiGHS, CLARABEL)"
LARGE = "relaxation, rounding, cluster pairs (HiGHS, CLARABEL)"


def solve_tradeoff(problem: TradeoffProblem) -> TradeoffSolution:
    """Shares and routing of the largest value, or why there are none.

    Outer approximation (Duran and Grossmann; Kelley's cuts): a MILP with tangents proposes who
    serves whom and bounds the value, a convex program finds the best shares for the proposal and
    new tangents. Above ``exact_up_to_pairs`` the bound is that of the relaxation, and pairs of
    clusters are improved in turns. Equal problems have equal solutions unless a time limit is set.
    """
    instance = instance_of(problem)
    if unserved(problem, set(instance.pairs.group.tolist())):
        return _infeasible(problem, 0)
    search = Search(instance=instance, master=Master(instance), target=problem.gap)
    relaxed = search.relax()
    exact = len(instance.pairs) <= problem.exact_up_to_pairs
    if relaxed.found and exact:
        search.prove()
    elif relaxed.found:
        round_off(search, relaxed)
        improve(search)
    if search.best is None:
        if search.bound == -math.inf:
            return _infeasible(problem, search.nodes)
        return TradeoffSolution(
            status="unknown",
            reason="limits ended the search before it found who serves whom",
            solver=EXACT if exact else LARGE,
            nodes=search.nodes,
        )
    return _solution(search, search.best, EXACT if exact else LARGE)


def _infeasible(problem: TradeoffProblem, nodes: int) -> TradeoffSolution:
    reason, looser = why_infeasible(problem)
    return TradeoffSolution(
        status="infeasible", reason=reason, looser_slo=looser, solver=EXACT, nodes=nodes
    )


def _solution(search: Search, best: Shares, solver: str) -> TradeoffSolution:
    instance: Instance = search.instance
    gap = relative_gap(best.value, search.bound)
    return TradeoffSolution(
        status="optimal" if gap <= instance.problem.gap else "feasible",
        routes=routes(instance, best),
        shares=cluster_shares(instance, best),
        value=best.value,
        bound=max(search.bound, best.value),
        gap=gap,
        solver=solver,
        nodes=search.nodes,
    )
