"""Clusters of unequal devices: k-means, capacity repair, pairwise improvement, and a proof."""

from __future__ import annotations

import math

import numpy as np

from gaisnet.planner.clustering.bounds import lower_bound
from gaisnet.planner.clustering.improve import improve, score
from gaisnet.planner.clustering.problem import ClusterProblem, ClusterSolution
from gaisnet.planner.clustering.proof import prove
from gaisnet.planner.clustering.starts import starts
from gaisnet.planner.clustering.terms import (
    ClusterArrays,
    IntArray,
    arrays,
    sums,
    terms,
    violations,
)

__all__ = ["solve_clusters"]

PROVEN = 1e-6
"""Absolute: the solver's tolerance on the objective."""


def solve_clusters(problem: ClusterProblem) -> ClusterSolution:
    """Partition the members into clusters and say how far from the best that may be.

    Each start (k-means on standardised features, then random ones) is repaired and improved by
    the best moves and swaps between two clusters; up to ``exact_up_to`` members set partitioning
    then proves the optimum, beyond them ``bounds`` says how far it may be. Equal problems give
    equal solutions.
    """
    reason = _impossible(problem)
    if reason is not None:
        return ClusterSolution(status="infeasible", reason=reason)
    data = arrays(problem)
    found = [improve(data, start) for start in starts(problem, data)]
    best = min((assignment for assignment, _ in found), key=lambda a: score(data, a))
    looks = sum(count for _, count in found)
    if len(problem.members) <= problem.exact_up_to:
        return _proven(data, best, looks)
    return _heuristic(data, best, looks)


def _impossible(problem: ClusterProblem) -> str | None:
    """Constraints that no partition satisfies, whatever it is."""
    count, clusters = len(problem.members), problem.clusters
    owners = sum(member.owner for member in problem.members)
    if owners < clusters:
        return f"{clusters} clusters need an owner of data each, but there are {owners}"
    if clusters * problem.min_devices > count:
        return f"{clusters} clusters of {problem.min_devices} devices need more than {count}"
    if problem.max_devices is not None and clusters * problem.max_devices < count:
        return f"{clusters} clusters of at most {problem.max_devices} devices cannot hold {count}"
    there = sum(member.capacity_bytes for member in problem.members)
    needed = clusters * problem.required_bytes
    if there < needed * (1.0 - 1e-9):
        return (
            f"{clusters} clusters need {needed:.0f} bytes together, "
            f"{needed - there:.0f} more than all devices have"
        )
    return None


def _proven(data: ClusterArrays, best: IntArray, looks: int) -> ClusterSolution:
    """``best`` or what the MILP finds better, with the MILP's bound."""
    solver = "set-partitioning MILP (HiGHS)"
    held = not violations(data, sums(data, best)).any()
    proof = prove(data, terms(data, best).total if held else math.inf)
    if math.isinf(proof.bound):
        return ClusterSolution(
            status="infeasible",
            reason=f"no partition into {data.clusters} clusters satisfies memory, owners, sizes "
            "and reachability together",
            solver=solver,
            nodes=proof.nodes,
        )
    if not held and proof.assignment is None:
        return _heuristic(data, best, looks)
    if proof.assignment is not None and score(data, proof.assignment) < score(data, best):
        best = proof.assignment
    bound = max(proof.bound, lower_bound(data))
    return _solution(data, best, bound, solver, proof.nodes + looks)


def _heuristic(data: ClusterArrays, best: IntArray, looks: int) -> ClusterSolution:
    broken = violations(data, sums(data, best))
    if broken.any():
        return ClusterSolution(
            status="unknown",
            reason=f"{int((broken > 0).sum())} of {data.clusters} clusters lack memory, an owner, "
            "members or links in the best partition found",
            solver="k-means, repair, pairwise improvement",
            nodes=looks,
        )
    solver = "k-means, repair, pairwise improvement"
    return _solution(data, best, lower_bound(data), solver, looks)


def _solution(
    data: ClusterArrays, assignment: IntArray, bound: float, solver: str, work: int
) -> ClusterSolution:
    assignment = _renumbered(assignment)
    found = terms(data, assignment)
    bound = min(bound, found.total)
    closed = found.total - bound <= PROVEN
    return ClusterSolution(
        status="optimal" if closed else "feasible",
        assignment=tuple(int(cluster) for cluster in assignment),
        terms=found,
        value=found.total,
        bound=bound,
        gap=(found.total - bound) / found.total if found.total > 0.0 else 0.0,
        solver=solver,
        nodes=work,
    )


def _renumbered(assignment: IntArray) -> IntArray:
    """Clusters numbered in order of their first member, so that equal partitions look equal."""
    _, first, inverse = np.unique(assignment, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    renumbered: IntArray = rank[inverse].astype(np.int64)
    return renumbered
