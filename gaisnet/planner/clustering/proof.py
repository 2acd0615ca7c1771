"""Proven optima of small problems by set partitioning, and lower bounds of all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaisnet.planner.clustering.terms import (
    ClusterArrays,
    FloatArray,
    IntArray,
    Subset,
    violations,
)
from gaisnet.planner.milp import run_highs

__all__ = ["Proof", "lower_bound", "prove"]

SCALE = 1e3
"""Solvers work with absolute tolerances around 1e-6."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the MILP says; ``assignment`` is None if no partition is allowed."""

    assignment: IntArray | None
    bound: float
    nodes: int


def prove(data: ClusterArrays) -> Proof:
    """The best partition by set partitioning over all allowed subsets of the members.

    Columns are subsets S with their share of the objective; binary y_S says that S is a cluster:
    ``min Σ c_S y_S + w τ`` where each member is in one cluster, ``Σ y_S = K``, and
    ``τ ≥ Σ_{S ∋ i} shortfall_S y_S`` for each member i (exactly one S holds it). Integer
    solutions are those of problem P2 with binary x_ik, without its symmetries.
    """
    subsets, costs, shortfalls = _columns(data)
    if not len(subsets):
        return Proof(assignment=None, bound=0.0, nodes=0)
    chosen, bound, nodes = _solve(data, subsets, costs, shortfalls)
    if chosen is None:
        return Proof(assignment=None, bound=0.0, nodes=nodes)
    assignment: IntArray = np.zeros(data.members, dtype=np.int64)
    for cluster, members in enumerate(subsets[chosen]):
        assignment[members > 0.0] = cluster
    return Proof(assignment=assignment, bound=bound, nodes=nodes)


def _columns(data: ClusterArrays) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Members ``[S, N]``, additive cost ``[S]`` and speed shortfall ``[S]`` of allowed subsets."""
    codes = np.arange(1, 2**data.members)
    member: FloatArray = ((codes[:, None] >> np.arange(data.members)) & 1).astype(np.float64)
    found = Subset(
        capacity=member @ data.capacity,
        owner=member @ data.owner,
        size=member.sum(axis=1),
        unreachable=((member @ data.unreachable) * member).sum(axis=1) / 2.0,
    )
    member = member[violations(data, found) == 0.0]
    labels, _, near = data.weights
    proximity = ((member @ data.distance) * member).sum(axis=1) / 2.0
    cost = labels * np.abs(member @ data.deviation).sum(axis=1) + near * proximity
    return member, cost, np.maximum(1.0 - member @ data.speed, 0.0)


def _solve(
    data: ClusterArrays, subsets: FloatArray, costs: FloatArray, shortfalls: FloatArray
) -> tuple[list[int] | None, float, int]:
    """Chosen columns (None: infeasible), the solver's own bound, and its nodes."""
    import pulp

    problem = pulp.LpProblem("clusters", pulp.LpMinimize)
    y = [problem.add_variable(f"y{s}", cat="Binary") for s in range(len(subsets))]
    tau = problem.add_variable("tau", lowBound=0.0)
    additive = pulp.LpAffineExpression(zip(y, map(float, costs), strict=True))
    problem += SCALE * (additive + data.weights[1] * tau)
    problem += pulp.lpSum(y) == data.clusters
    for i in range(data.members):
        inside = np.flatnonzero(subsets[:, i])
        problem += pulp.lpSum(y[s] for s in inside) == 1
        problem += tau >= pulp.lpSum(float(shortfalls[s]) * y[s] for s in inside)
    outcome = run_highs(problem)
    if not outcome.found:
        return None, 0.0, outcome.nodes
    chosen = [s for s, variable in enumerate(y) if variable.value() > 0.5]
    return chosen, outcome.bound / SCALE, outcome.nodes


def lower_bound(data: ClusterArrays) -> float:
    """A bound that costs nothing: no partition of any shape has a smaller objective.

    Proximity: K clusters of N members hold at least as many pairs as equal ones do, and no pairs
    are nearer than the nearest. Speed: beside the cluster of the fastest member the others share
    what is left. Label balance may be perfect for all this bound knows.
    """
    _, speed, near = data.weights
    count, clusters = data.members, data.clusters
    size, larger = divmod(count, clusters)
    pairs = larger * (size + 1) * size // 2 + (clusters - larger) * size * (size - 1) // 2
    distances = np.sort(data.distance[np.triu_indices(count, 1)])
    shortfall = 0.0
    if clusters > 1:
        rest = data.speed.sum() - data.speed.max()
        shortfall = max(0.0, 1.0 - float(rest) / (clusters - 1))
    return near * float(distances[:pairs].sum()) + speed * shortfall
