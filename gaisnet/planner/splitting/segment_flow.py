"""Segment-flow mixed-integer programme, through PuLP on HiGHS; covers all four objectives.

    y[n,i,j] in {0,1}   device n holds units i..j (only where the tables allow it)
    z[n,m,j] >= 0       the cut after unit j goes from n to m

    sum y[.,0,.] = 1                              the chain begins once
    sum_m z[m,n,i-1] = sum_j y[n,i,j]             what begins was reached
    sum_m z[n,m,j]   = sum_i y[n,i,j]             what ends goes on
    sum y[n,.,.] <= 1                             each device once: the only complicating rows
    sum y <= S
    T >= stage of y[n,.,.], T >= stages of z[.,.,j]   for period and makespan

A U-shape's shared memory becomes clique rows (a head and the tails that no longer fit beside it),
so that no solver tolerance can let a byte too many pass. Side constraints and the order of
identical devices are further rows (``flow_rules``); a chain that exceeds an allowance within the
solver's tolerance is excluded, and the programme solved again.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pulp

from gaisnet.planner.highs import highs
from gaisnet.planner.splitting.budget import Budget, Found
from gaisnet.planner.splitting.flow_rules import (
    Terms,
    expression,
    no_good,
    rule_rows,
    shared_end_rows,
    twin_rows,
)
from gaisnet.planner.splitting.instance import SplitInstance
from gaisnet.planner.splitting.lagrangian import completion, no_prices
from gaisnet.planner.splitting.solution import Objective, Segment
from gaisnet.planner.splitting.symmetry import interchangeable_under
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["SegmentFlow"]

_TARGET_SCALE = 1e3
"""The optimum is scaled to about this: the solver's absolute tolerances are 1e-6."""
_PROVEN = 1e-6


@dataclass(frozen=True)
class _Rows:
    """Variables by where they take part."""

    begins: dict[tuple[int, int], Terms]
    ends: dict[tuple[int, int], Terms]
    uses: dict[int, Terms]


class SegmentFlow:
    """The model of one instance and objective; ``root`` are the instance's root tables."""

    def __init__(self, instance: SplitInstance, root: ChainTables, objective: Objective) -> None:
        self._instance, self._root = instance, root
        self._sum_weight = 0.0 if objective == "period" else 1.0
        self._stage_weight = {"period": 1.0, "makespan": instance.microbatches - 1.0}.get(
            objective, 0.0
        )
        self._scale = self._choose_scale()
        self._model = pulp.LpProblem("segment_flow", pulp.LpMinimize)
        self._segments: dict[Segment, pulp.LpVariable] = {}
        self._cuts: dict[tuple[int, int, int], pulp.LpVariable] = {}
        self._build()

    def solve(self, budget: Budget, gap: float = 0.0) -> Found:
        """Run HiGHS, single-threaded with a fixed seed, and read its own bound.

        Returns:
            The chain found (value in unscaled units of the objective, as the tables count it) and
            the proven bound; an infinite bound means that HiGHS proved infeasibility.
        """
        options: dict[str, float | int] = {"random_seed": 0, "mip_abs_gap": _PROVEN}
        if budget.node_limit is not None:
            options["mip_max_nodes"] = max(budget.node_limit - budget.nodes, 1)
        left_s = None
        if budget.time_limit_s is not None:
            left_s = max(budget.time_limit_s - budget.seconds, 0.1)
        self._model.solve(highs(gapRel=gap, timeLimit=left_s, **options))
        information = self._model.solverModel.getInfo()
        budget.nodes += max(int(information.mip_node_count), 0)
        if self._model.status == pulp.LpStatusInfeasible:
            return Found(None, math.inf, math.inf)
        bound = float(information.mip_dual_bound) / self._scale
        bound = max(bound, 0.0) if math.isfinite(bound) else 0.0
        if self._model.sol_status not in (
            pulp.LpSolutionOptimal,
            pulp.LpSolutionIntegerFeasible,
        ):
            return Found(None, math.inf, bound)
        path = self._path()
        if not self._instance.rules.allow(path):
            if budget.exhausted:
                return Found(None, math.inf, bound)
            self._model += no_good(self._segments, path)
            return self.solve(budget, gap)
        value = self._value(path)
        if bound >= value * (1 - _PROVEN) - 1e-300:
            bound = value
        return Found(path, value, bound)

    def _value(self, path: list[Segment]) -> float:
        value = self._sum_weight * self._root.cost_of(path)
        return value + (self._stage_weight * self._period(path) if self._stage_weight else 0.0)

    def _period(self, path: list[Segment]) -> float:
        """Longest stage, the two ends of a U-shape being one."""
        period_s = self._root.period_of(path)
        if self._instance.two_ends and len(path) > 1:
            head, tail = self._instance.two_ends
            busy_s = self._instance.work_s[head, : path[0][2] + 1].sum()
            busy_s += self._instance.work_s[tail, path[-1][1] :].sum()
            period_s = max(period_s, float(busy_s + self._instance.base_busy_s[head]))
        return period_s

    def _choose_scale(self) -> float:
        """From the plain shortest path, which is not far below the optimum."""
        size = completion(self._root, no_prices(self._root)).bound if self._sum_weight else 0.0
        if self._stage_weight:
            finite = np.isfinite(self._root.segment_stage)
            longest = float(self._root.segment_stage[finite].max(initial=0.0))
            shortest = float(self._root.segment_stage[finite].min(initial=longest))
            size += self._stage_weight * math.sqrt(max(shortest, longest * 1e-4) * longest)
        return _TARGET_SCALE / size if 0.0 < size < math.inf else 1.0

    def _build(self) -> None:
        rows = _Rows(defaultdict(list), defaultdict(list), defaultdict(list))
        objective: Terms = []
        for n, i, j in zip(*np.nonzero(np.isfinite(self._root.segment_cost)), strict=True):
            segment = (int(n), int(i), int(j))
            y = self._segments[segment] = self._model.add_variable(
                f"y_{n}_{i}_{j}", 0, 1, cat=pulp.LpInteger
            )
            rows.begins[segment[0], segment[1]].append((y, 1.0))
            rows.ends[segment[0], segment[2]].append((y, 1.0))
            rows.uses[segment[0]].append((y, 1.0))
            objective.append((y, self._sum_weight * float(self._root.segment_cost[segment])))
        objective += self._add_cuts(rows)
        scaled = [(variable, cost * self._scale) for variable, cost in objective]
        if self._stage_weight:
            scaled.append((self._add_period(), self._stage_weight))
        self._model.setObjective(expression(scaled))
        self._add_rows(rows)
        if self._instance.two_ends:
            self._add(shared_end_rows(self._instance, self._segments, *self._instance.two_ends))
        self._add(rule_rows(self._instance, self._segments, self._cuts))
        twins = interchangeable_under(
            [self._root], self._instance.rules, self._instance.two_ends or ()
        )
        self._add(twin_rows(twins, self._segments, self._root.units))

    def _add(self, rows: Iterable[pulp.LpConstraint]) -> None:
        for row in rows:
            self._model += row

    def _add_cuts(self, rows: _Rows) -> Terms:
        """Cut variables where something can end and something begin, and flow conservation."""
        costs: Terms = []
        arrivals: dict[tuple[int, int], Terms] = defaultdict(list)
        departures: dict[tuple[int, int], Terms] = defaultdict(list)
        for n, m, j in zip(*np.nonzero(np.isfinite(self._root.cut_cost)), strict=True):
            cut = (int(n), int(m), int(j))
            if not (rows.ends.get((cut[0], cut[2])) and rows.begins.get((cut[1], cut[2] + 1))):
                continue
            z = self._cuts[cut] = self._model.add_variable(f"z_{n}_{m}_{j}", 0.0)
            departures[cut[0], cut[2]].append((z, -1.0))
            arrivals[cut[1], cut[2] + 1].append((z, -1.0))
            costs.append((z, self._sum_weight * float(self._root.cut_cost[cut])))
        for (n, i), begins in rows.begins.items():
            if i:
                self._model += expression(begins + arrivals[n, i]) == 0
        for (n, j), ends in rows.ends.items():
            if j < self._root.units - 1:
                self._model += expression(ends + departures[n, j]) == 0
        return costs

    def _add_rows(self, rows: _Rows) -> None:
        first = [term for (_, i), terms in rows.begins.items() if i == 0 for term in terms]
        self._model += expression(first) == 1
        for terms in rows.uses.values():
            self._model += expression(terms) <= 1
        everything = [(y, 1.0) for y in self._segments.values()]
        self._model += expression(everything) <= self._root.max_segments

    def _add_period(self) -> pulp.LpVariable:
        """T times the scale; every stage is a row."""
        period = self._model.add_variable("T", self._root.floor_s * self._scale)
        stages: dict[tuple[str, int], Terms] = defaultdict(list)
        head, tail = self._instance.two_ends or (-1, -1)
        for segment, y in self._segments.items():
            n = segment[0]
            stages["segment", n].append((y, float(self._root.segment_stage[segment])))
            if n in (head, tail):
                busy_s = float(self._instance.work_s[n, segment[1] : segment[2] + 1].sum())
                stages["ends", head].append((y, busy_s))
        for cut, z in self._cuts.items():
            stages["cut", cut[2]].append((z, float(self._root.cut_stage[cut])))
        for (kind, _), terms in stages.items():
            base_s = float(self._instance.base_busy_s[head]) if kind == "ends" else 0.0
            scaled = [(variable, stage_s * self._scale) for variable, stage_s in terms]
            self._model += expression([*scaled, (period, -1.0)]) <= -base_s * self._scale
        return period

    def _path(self) -> list[Segment]:
        """Follow the chosen segments from the first unit on."""
        chosen = {s[1]: s for s, y in self._segments.items() if (y.value() or 0.0) > 0.5}
        path, i = [], 0
        while i < self._root.units:
            path.append(chosen[i])
            i = chosen[i][2] + 1
        return path
