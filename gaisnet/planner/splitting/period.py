"""Exact search for the shortest period: it is one of finitely many stage times.

The candidates are the stages of all allowed segments and cuts. A feasible probe moves the upper
end down to the period of the chain it found, an infeasible one moves the lower end up; a probe
that ran out of its share is skipped and asked again at the next level of effort.
"""

from __future__ import annotations

import math

import numpy as np

from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.contention import equal_prices
from gaisnet.planner.splitting.effort import PROBE_EFFORTS, Effort, affordable
from gaisnet.planner.splitting.instance import FloatArray
from gaisnet.planner.splitting.neighbours import Returns, nobody
from gaisnet.planner.splitting.probe import Probe, Verdict
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["PeriodSearch", "candidate_periods"]

_GLANCE_NODES = 100
_GLANCE_WIDTH = 30


def candidate_periods(tables: ChainTables) -> FloatArray:
    """All values that the period of a chain can take, ascending."""
    stages = np.concatenate([tables.segment_stage.ravel(), tables.cut_stage.ravel()])
    finite = stages[np.isfinite(stages)]
    return np.unique(np.append(finite[finite > tables.floor_s], tables.floor_s))


class PeriodSearch:
    """Shortest period of one chain problem, below a cutoff."""

    def __init__(self, tables: ChainTables, twins: Twins, cutoff: float = math.inf) -> None:
        self._tables, self._twins = tables, twins
        candidates = candidate_periods(tables)
        if math.isfinite(cutoff):
            candidates = candidates[candidates < cutoff * (1 - RELATIVE_TOLERANCE)]
        self._candidates = candidates
        self._cutoff = cutoff
        self._weight = np.ones(tables.units)
        self._prices = equal_prices(tables)
        self._returns, self._near = Returns(tables.devices), nobody(tables.devices)
        self._path: list[Segment] | None = None
        self._low, self._high = 0, len(candidates)

    def run(self, budget: Budget, gap: float = 0.0) -> Found:
        """Bisect until both ends meet, the gap is reached, or the budget is spent."""
        if self._high:
            self._settle(self._high - 1, budget, PROBE_EFFORTS[0])
        for effort in PROBE_EFFORTS:
            if self._low >= self._high or budget.exhausted or self._gap() <= gap:
                break
            self._near = self._returns.forbid(affordable(self._tables, effort.near))
            self._sweep(budget, effort, gap)
        return Found(self._path, self._value(), min(self._bound(), self._value()))

    def _sweep(self, budget: Budget, effort: Effort, gap: float) -> None:
        """One bisection; what stays unknown below a feasible period is left for the next."""
        low = self._low
        while low < self._high and self._gap() > gap and not budget.exhausted:
            middle = (low + self._high) // 2
            verdict = self._settle(middle, budget, effort)
            if verdict.path is None:
                low = middle + 1

    def _settle(self, index: int, budget: Budget, effort: Effort) -> Verdict:
        """Probe one candidate and move the end that it settles."""
        probe = Probe(self._tables, self._twins, float(self._candidates[index]), self._weight)
        self._weight = probe.weight
        verdict = self._answer(probe, budget, effort)
        if verdict.path is not None:
            self._path = verdict.path
            period_s = self._tables.period_of(verdict.path)
            self._high = int(np.searchsorted(self._candidates, period_s))
        elif verdict.proven:
            self._low = max(self._low, index + 1)
        return verdict

    def _answer(self, probe: Probe, budget: Budget, effort: Effort) -> Verdict:
        """In depth for a moment, then in breadth, then with better prices."""
        verdict = probe.run(budget, _GLANCE_NODES)
        if verdict.proven:
            return verdict
        probe.price(self._prices, self._near)
        verdict = probe.sweep(_GLANCE_WIDTH, budget)
        if verdict.proven:
            return verdict
        self._prices = probe.tighten(self._prices, self._near, effort.rounds, budget, self._returns)
        return probe.sweep(effort.width, budget)

    def _value(self) -> float:
        return self._cutoff if self._path is None else self._tables.period_of(self._path)

    def _bound(self) -> float:
        """The lowest candidate not ruled out."""
        return float(self._candidates[self._low]) if self._low < self._high else self._value()

    def _gap(self) -> float:
        value = self._value()
        return 1.0 - self._bound() / value if math.isfinite(value) and value > 0 else math.inf
