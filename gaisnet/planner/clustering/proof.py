"""Proven optima by set partitioning over all subsets of the members.

Columns are subsets S that may be a cluster, with their share c_S of the objective; y_S says that
S is one: ``min Σ c_S y_S + w τ`` where each member is in one cluster, ``Σ y_S = K``, and
``τ >= Σ_{S ∋ i} shortfall_S y_S`` for each member i (exactly one S holds it). The relaxation is
solved by column generation (Barnhart et al., Operations Research 46(3), 1998), pricing by looking
at every subset; with N <= 24 members that is a few array operations. With a partition at hand,
whose objective is U, and a relaxation of L, columns of a reduced cost above U - L are in no better
partition, and few are left for branch and bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gaisnet.planner.clustering.subsets import Subsets
from gaisnet.planner.clustering.terms import ClusterArrays, FloatArray, IntArray
from gaisnet.planner.linear import LinearProgram, LinearResult

__all__ = ["Proof", "prove"]

SCALE = 1e3
"""Solvers work with absolute tolerances around 1e-6."""
TOLERANCE = 1e-6
"""Of scaled objectives."""
PRICED = 400
"""Columns that a round of pricing adds at most."""
MOST_ROUNDS = 200
MOST_COLUMNS = 60_000
"""That branch and bound is given; with more the relaxation's bound has to do."""
MOST_NODES = 20_000
ARTIFICIAL = 1e3
"""Scaled cost of leaving a member out, far above any objective."""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What set partitioning says."""

    assignment: IntArray | None
    """Something better than what was known, if there is any."""
    bound: float
    """No partition has a smaller objective; inf: none is allowed."""
    nodes: int


def prove(data: ClusterArrays, known: float = math.inf) -> Proof:
    """The best partition, or at least a bound on it.

    Args:
        data: At most 24 members.
        known: The objective of a partition at hand.
    """
    columns = Subsets.of(data, known)
    master = _Master(data, columns)
    relaxed, bound, rounds = master.relax()
    if master.leaves_out(relaxed):
        return Proof(assignment=None, bound=known, nodes=rounds)
    if bound >= SCALE * known - TOLERANCE:
        return Proof(assignment=None, bound=bound / SCALE, nodes=rounds)
    near = np.flatnonzero(master.reduced(relaxed) <= SCALE * known - bound + TOLERANCE)
    if len(near) > MOST_COLUMNS:
        return Proof(assignment=None, bound=bound / SCALE, nodes=rounds)
    whole = _Master(data, columns, whole=True)
    whole.add(near)
    found = whole.program.solve(node_limit=MOST_NODES)
    bound = max(bound, min(found.bound, SCALE * known))
    nodes = rounds + found.nodes
    if not found.found or whole.leaves_out(found):
        return Proof(assignment=None, bound=bound / SCALE, nodes=nodes)
    return Proof(assignment=whole.assignment(found), bound=bound / SCALE, nodes=nodes)


class _Master:
    """The program over the columns added so far."""

    def __init__(self, data: ClusterArrays, columns: Subsets, *, whole: bool = False) -> None:
        self._data, self._columns, self._whole = data, columns, whole
        self.program = program = LinearProgram()
        self._tau = program.variable(SCALE * data.weights[1])
        members = range(data.members)
        self._cover = [program.row([], at_least=1.0, at_most=1.0) for _ in members]
        self._slow = [program.row([(self._tau, 1.0)], at_least=0.0) for _ in members]
        self._count = program.row([], at_least=data.clusters, at_most=data.clusters)
        rows = [{row: 1.0} for row in self._cover]
        rows += [{self._count: 1.0}, {self._count: -1.0}]
        self._left_out = [program.variable(ARTIFICIAL, rows=row) for row in rows]
        self._at: dict[int, int] = {}
        """Column of the program by number of the subset."""

    def add(self, which: IntArray) -> int:
        """Subsets as further columns; how many are new."""
        fresh = [s for s in which.tolist() if s not in self._at]
        for s in fresh:
            inside = self._columns.members(s)
            late = float(self._columns.shortfall[s])
            rows = {self._cover[i]: 1.0 for i in inside} | {self._count: 1.0}
            if late > 0.0:
                rows |= {self._slow[i]: -late for i in inside}
            cost = SCALE * float(self._columns.cost[s])
            upper = 1.0 if self._whole else math.inf
            self._at[s] = self.program.variable(cost, upper=upper, whole=self._whole, rows=rows)
        return len(fresh)

    def relax(self) -> tuple[LinearResult, float, int]:
        """Column generation: the relaxation, its bound (Lagrange's, as K columns are taken)."""
        bound = -math.inf
        result = self.program.solve(relaxed=True)
        for rounds in range(MOST_ROUNDS):
            reduced = self.reduced(result)
            least = float(reduced.min(initial=0.0))
            bound = max(bound, result.bound + self._data.clusters * least)
            count = min(PRICED, len(reduced))
            best = np.argpartition(reduced, count - 1)[:count] if count else np.arange(0)
            fresh = np.sort(best[reduced[best] < -TOLERANCE])
            if not self.add(fresh):
                return result, bound, rounds + 1
            result = self.program.solve(relaxed=True)
        return result, bound, MOST_ROUNDS

    def reduced(self, result: LinearResult) -> FloatArray:
        """Scaled reduced cost of every subset."""
        price = result.row_price
        cover, slow = price[self._cover], price[self._slow]
        columns = self._columns
        reduced: FloatArray = SCALE * columns.cost - columns.total(cover) - price[self._count]
        return reduced + columns.shortfall * columns.total(slow)

    def leaves_out(self, result: LinearResult) -> bool:
        """Whether some member has no cluster, or their number is wrong."""
        return float(result.values[self._left_out].sum()) > TOLERANCE

    def assignment(self, result: LinearResult) -> IntArray:
        """The cluster of each member."""
        found: IntArray = np.zeros(self._data.members, dtype=np.int64)
        taken = [s for s, column in sorted(self._at.items()) if result.values[column] > 0.5]
        for cluster, s in enumerate(taken):
            found[self._columns.members(s)] = cluster
        return found
