"""Outer approximation: bounds from the master program, shares from the convex one, in turns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gaisnet.planner.tradeoff.instance import FloatArray, Instance, IntArray
from gaisnet.planner.tradeoff.master import Master, MasterPoint

if TYPE_CHECKING:
    from gaisnet.planner.tradeoff.shares import Shares

__all__ = ["Search", "relative_gap"]

MOST_RELAXATIONS = 12
WORTHWHILE = 1e-4
"""Relative gain of a bound below which the relaxation gets no more tangents."""
MOST_ROUNDS = 20
SERVED = 0.5
TINY = 1e-6
"""Part of a group's requests that is not worth a queue."""


@dataclass(kw_only=True)
class Search:
    """What is known so far about one instance; ``best`` is within ``bound`` of the optimum."""

    instance: Instance
    master: Master
    target: float
    """Relative gap at which to stop; infinite: any solution will do."""
    best: Shares | None = None
    bound: float = math.inf
    """-inf: proven infeasible."""
    nodes: int = 0
    certain: bool = True
    """False once a support was given up that the convex solver neither solved nor refuted: the
    bound then stays where it was."""

    @property
    def closed(self) -> bool:
        """Whether the search may end."""
        if self.best is None:
            return self.bound == -math.inf
        return relative_gap(self.best.value, self.bound) <= self.target

    def relax(self) -> MasterPoint:
        """The relaxation, with tangents until they gain nothing more; the last point."""
        before = math.inf
        for _ in range(MOST_RELAXATIONS):
            point = self.master.solve(relaxed=True)
            self.bound = min(self.bound, point.bound)
            if not point.found or before - self.bound <= WORTHWHILE * abs(self.bound):
                return point
            before = self.bound
            self._cut(point)
        return point

    def prove(self, most_rounds: int = MOST_ROUNDS) -> None:
        """Branch and bound on the whole problem, until closed or out of limits."""
        gap = min(self.target / 2.0, 1.0)
        for _ in range(most_rounds):
            point = self.step(gap)
            if self.closed or not point.found:
                return

    def step(self, gap: float, fixed: FloatArray | None = None) -> MasterPoint:
        """One master program, and the shares of the support that it proposes."""
        point = self.master.solve(gap=gap, fixed=fixed)
        self.nodes += point.nodes
        if fixed is None and self.certain:
            known = -math.inf if self.best is None else self.best.value
            self.bound = max(min(self.bound, point.bound), known)
        if point.found:
            self._cut(point)
            self.offer(support(point))
        return point

    def offer(self, used: IntArray) -> bool:
        """Best shares of a support; whether they are the best known.

        cvxpy takes a second to import: only now.
        """
        from gaisnet.planner.tradeoff.shares import solve_shares

        outcome = solve_shares(self.instance, used)
        shares = outcome.shares
        if shares is None:
            self.certain &= outcome.proven
            self.master.forbid(used)
            return False
        idle = shares.flow < TINY * self.instance.pairs.arrivals[used]
        if idle.any():
            return self.offer(used[~idle])
        self._cut_shares(shares)
        if self.best is not None and shares.value <= self.best.value:
            return False
        self.best = shares
        return True

    def _cut_shares(self, shares: Shares) -> None:
        count = len(self.instance.pairs)
        flow, share = np.zeros(count), np.zeros((count, 2))
        flow[shares.used], share[shares.used] = shares.flow, shares.share
        self.master.cut_at(flow, share, shares.tuning)

    def _cut(self, point: MasterPoint) -> None:
        """Tangents where the master is, seen per unit of y."""
        part = np.where(point.served > TINY, point.served, np.inf)
        self.master.cut_at(point.flow / part, point.share / part[:, None], point.tuning)


def support(point: MasterPoint) -> IntArray:
    """Pairs that a point serves."""
    used: IntArray = np.flatnonzero(point.served > SERVED)
    return used


def relative_gap(value: float, bound: float) -> float:
    """``(bound - value) / |value|``; 0 when they are equal."""
    if bound <= value:
        return 0.0
    return (bound - value) / abs(value) if value != 0.0 else math.inf
