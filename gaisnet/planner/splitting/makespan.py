"""Exact search for the makespan, latency + (M - 1) * period, of one chain problem.

Chains are sorted by their period into intervals [T_a, T_b] of candidate periods. On an interval

    least latency with all stages <= T_b   +   (M - 1) T_a

is a lower bound, with the exact latency or with a Lagrangian bound of it. The interval with the
smallest bound is split, or solved: the fastest chain within T_b has some period t, and no chain
with a period in [t, T_b] is better than it, so only [T_a, t) stays open.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gaisnet.planner.splitting.ascent import improve_prices
from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.lagrangian import Prices, no_prices
from gaisnet.planner.splitting.period import candidate_periods
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["MakespanSearch", "Solver"]

Solver = Callable[[ChainTables, float, Prices | None, Budget], Found]
"""Solves a chain problem below a cutoff: ``solver(tables, cutoff, prices, budget)``."""

_FEW_CANDIDATES = 8
_INTERVAL_ROUNDS = 12
_SHARE = 0.25
"""Of what is left, for one solve."""


@dataclass(frozen=True)
class _Interval:
    """Chains whose period is one of the candidates ``first..last``."""

    first: int
    last: int
    latency_s: float
    """Lower bound of the latency of such chains."""
    prices: Prices


class MakespanSearch:
    """Shortest makespan of one chain problem, below a cutoff."""

    def __init__(
        self,
        tables: ChainTables,
        microbatches: int,
        latency_solver: Solver,
        period_solver: Solver,
        cutoff: float = math.inf,
    ) -> None:
        self._tables, self._waits = tables, microbatches - 1
        self._latency_solver, self._period_solver = latency_solver, period_solver
        self._candidates = candidate_periods(tables)
        self._path: list[Segment] | None = None
        self._value = cutoff
        self._given_up = math.inf
        """Bound of what could not be resolved within its share."""

    def run(self, budget: Budget, gap: float = 0.0) -> Found:
        """Solve for the period and the latency alone, then close the intervals between."""
        share = budget.share(_SHARE)
        shortest = self._period_solver(self._tables, math.inf, None, share)
        budget.spend(share)
        if math.isinf(shortest.bound):
            return Found(None, self._value, self._value)
        self._offer(shortest.path)
        first = int(np.searchsorted(self._candidates, shortest.bound))
        prices = no_prices(self._tables)
        everything = _Interval(first, len(self._candidates) - 1, 0.0, prices)
        bound = self._close(everything, budget, gap)
        return Found(self._path, self._value, min(bound, self._value))

    def _close(self, everything: _Interval, budget: Budget, gap: float) -> float:
        """Best first over intervals; the bound when it ends."""
        heap = [(self._bound(everything), 0, everything)]
        count = 0
        while heap:
            bound, _, interval = heapq.heappop(heap)
            if bound >= self._value * (1 - max(gap, RELATIVE_TOLERANCE)) or budget.exhausted:
                return min(bound, self._given_up)
            wide = interval.last - interval.first >= _FEW_CANDIDATES
            parts = self._split(interval, budget) if wide and self._far(interval) else None
            for part in parts or self._solve(interval, budget):
                heapq.heappush(heap, (self._bound(part), count := count + 1, part))
        return min(self._value, self._given_up)

    def _bound(self, interval: _Interval) -> float:
        return interval.latency_s + self._waits * float(self._candidates[interval.first])

    def _far(self, interval: _Interval) -> bool:
        """Do the periods differ by enough for half of them to be ruled out by their bound?"""
        ends = self._candidates[[interval.first, interval.last]]
        return self._waits * float(ends[1] - ends[0]) > 0.5 * (self._value - self._bound(interval))

    def _split(self, interval: _Interval, budget: Budget) -> list[_Interval]:
        middle = (interval.first + interval.last) // 2
        tables = self._tables.within(float(self._candidates[middle]))
        target = self._value - self._waits * float(self._candidates[interval.first])
        ascent = improve_prices(
            tables, interval.prices, incumbent=target, rounds=_INTERVAL_ROUNDS, budget=budget
        )
        self._offer(ascent.path)
        latency_s = max(ascent.bound, interval.latency_s)
        lower = _Interval(interval.first, middle, latency_s, ascent.prices)
        upper = _Interval(middle + 1, interval.last, interval.latency_s, interval.prices)
        return [lower, upper]

    def _solve(self, interval: _Interval, budget: Budget) -> list[_Interval]:
        """Fastest chain within the interval's longest period; what is left open after it."""
        tables = self._tables.within(float(self._candidates[interval.last]))
        target = self._value - self._waits * float(self._candidates[interval.first])
        share = budget.share(_SHARE)
        found = self._latency_solver(tables, target, interval.prices, share)
        budget.spend(share)
        self._offer(found.path)
        proven = found.bound >= found.value * (1 - RELATIVE_TOLERANCE)
        if proven and found.path is None:
            return []
        last = interval.last
        if proven and found.path is not None:
            last = int(np.searchsorted(self._candidates, self._tables.period_of(found.path))) - 1
        latency_s = max(found.bound, interval.latency_s)
        rest = _Interval(interval.first, last, latency_s, interval.prices)
        if proven:
            return [rest] if last >= interval.first else []
        if last > interval.first:
            return self._split(rest, budget)
        self._given_up = min(self._given_up, self._bound(rest))
        return []

    def _offer(self, path: list[Segment] | None) -> None:
        """Take ``path`` as incumbent if it is better."""
        if path is None:
            return
        value = self._tables.cost_of(path) + self._waits * self._tables.period_of(path)
        if value < self._value:
            self._path, self._value = path, value
