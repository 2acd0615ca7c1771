"""Proven optima of small problems by set partitioning, and lower bounds of all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from gaisnet.planner.clustering.terms import (
    BoolArray,
    ClusterArrays,
    FloatArray,
    IntArray,
    Subset,
    violations,
)
from gaisnet.planner.milp import MilpOutcome, run_highs

if TYPE_CHECKING:
    import pulp

__all__ = ["Proof", "lower_bound", "prove"]

SCALE = 1e3
"""Solvers work with absolute tolerances around 1e-6."""
TOLERANCE = 1e-6
"""Of scaled objectives."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the MILP says; without an ``assignment`` nothing is better than what was known."""

    assignment: IntArray | None
    bound: float
    nodes: int


@dataclass(frozen=True, kw_only=True)
class _Columns:
    """Subsets of the members that may be a cluster."""

    member: FloatArray
    """``[S, N]`` 1 where a member is in the subset."""
    cost: FloatArray
    """``[S]`` labels and proximity, which add up over clusters."""
    shortfall: FloatArray
    """``[S]`` of speed; the largest one counts."""

    def pick(self, keep: BoolArray) -> _Columns:
        return _Columns(
            member=self.member[keep], cost=self.cost[keep], shortfall=self.shortfall[keep]
        )


def prove(data: ClusterArrays, known: float = math.inf) -> Proof:
    """The best partition by set partitioning over all allowed subsets of the members.

    Columns are subsets S with their share of the objective; binary y_S says that S is a cluster:
    ``min Σ c_S y_S + w τ`` where each member is in one cluster, ``Σ y_S = K``, and
    ``τ ≥ Σ_{S ∋ i} shortfall_S y_S`` for each member i (exactly one S holds it). Integer
    solutions are those of binary variables "member i is in cluster k", without the symmetries.

    ``known`` is the objective of a partition at hand: with the reduced costs of the relaxation it
    rules out most columns before the search. ``bound`` is infinite if no partition is allowed.
    """
    columns = _columns(data)
    relaxed, root, _ = _solve(data, columns, "Continuous")
    if relaxed is None:
        return Proof(assignment=None, bound=known, nodes=0)
    if root.bound >= SCALE * known - TOLERANCE:
        return Proof(assignment=None, bound=root.bound / SCALE, nodes=0)
    reduced = np.array([variable.dj for variable in relaxed])
    columns = columns.pick(reduced <= SCALE * known - root.bound + TOLERANCE)
    chosen, found, nodes = _solve(data, columns, "Binary")
    if chosen is None:
        return Proof(assignment=None, bound=known, nodes=nodes)
    assignment: IntArray = np.zeros(data.members, dtype=np.int64)
    clusters = [s for s, variable in enumerate(chosen) if variable.value() > 0.5]
    for cluster, members in enumerate(columns.member[clusters]):
        assignment[members > 0.0] = cluster
    return Proof(assignment=assignment, bound=min(known, found.bound / SCALE), nodes=nodes)


def _columns(data: ClusterArrays) -> _Columns:
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
    return _Columns(
        member=member,
        cost=labels * np.abs(member @ data.deviation).sum(axis=1) + near * proximity,
        shortfall=np.maximum(1.0 - member @ data.speed, 0.0),
    )


def _solve(
    data: ClusterArrays, columns: _Columns, kind: Literal["Continuous", "Binary"]
) -> tuple[list[pulp.LpVariable] | None, MilpOutcome, int]:
    """The variables y (None: infeasible), how the solve ended, and its nodes."""
    import pulp

    problem = pulp.LpProblem("clusters", pulp.LpMinimize)
    y = [
        problem.add_variable(
            f"y{s}", lowBound=0, upBound=None if kind == "Continuous" else 1, cat=kind
        )
        for s in range(len(columns.cost))
    ]
    tau = problem.add_variable("tau", lowBound=0.0)
    additive = pulp.LpAffineExpression(zip(y, map(float, SCALE * columns.cost), strict=True))
    problem += additive + SCALE * data.weights[1] * tau
    problem += pulp.lpSum(y) == data.clusters
    for i in range(data.members):
        inside = np.flatnonzero(columns.member[:, i])
        problem += pulp.LpAffineExpression([(y[s], 1) for s in inside]) == 1
        slow = [(y[s], float(columns.shortfall[s])) for s in inside if columns.shortfall[s] > 0.0]
        problem += tau >= pulp.LpAffineExpression(slow)
    outcome = run_highs(problem)
    return (y if outcome.found else None), outcome, outcome.nodes


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
