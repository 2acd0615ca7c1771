"""Exact search with several figures of a chain at once: side constraints, and Pareto fronts.

A label is (devices used, last device n, last unit j) with the sums of all measures and the
longest stage so far. Of two labels with the same three keys, one that is no larger in any figure
that counts dominates the other: every completion is the same for both (Martins 1984 with lower
bounds, as in Mandow and Pérez de la Cruz 2010). A label dies when a measure and its least
completion exceed their limit, when too few segments are left for the devices that still have to
be used, or when no completion can beat a chain that is known.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaisnet.planner.splitting.arrays import FloatArray
from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget
from gaisnet.planner.splitting.priced import PricedGoal, as_parts
from gaisnet.planner.splitting.rules import Allowance, SideRules
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["Goal", "LabelSearch", "Point"]


@dataclass(frozen=True)
class Goal:
    """A figure to be minimised: one measure times ``weight`` plus the longest stage times its."""

    measure: int
    weight: float
    stage_weight: float


@dataclass(frozen=True)
class Point:
    """A chain and its goals."""

    values: tuple[float, ...]
    path: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class _Label:
    n: int
    last: int
    used: int
    sums: tuple[float, ...]
    stage_s: float
    begin: int
    parent: _Label | None

    def path(self) -> tuple[Segment, ...]:
        label: _Label | None = self
        segments: list[Segment] = []
        while label is not None and label.n >= 0:
            segments.append((label.n, label.begin, label.last))
            label = label.parent
        return tuple(segments[::-1])


class LabelSearch:
    """All chains of one chain problem that no other chain beats in every goal.

    Args:
        tables: What is allowed, and the stages; the additive costs in it are not used.
        measures: The sums that goals and limits are about; infinite limits are none.
        goals: One, or two for a front.
        rules: Rules on the devices used; their allowances have to be among the measures.
        twins: Interchangeable devices, with regard to everything above.
        points: Chains that are known; what the search finds is added.
    """

    def __init__(
        self,
        tables: ChainTables,
        measures: Sequence[Allowance],
        goals: Sequence[Goal],
        rules: SideRules,
        twins: Twins,
        points: list[Point],
    ) -> None:
        self._tables, self._goals, self._rules, self._twins = tables, goals, rules, twins
        self._points = points
        self._limits = np.array([each.most for each in measures])
        parts = as_parts(tables, [(each.segment, each.cut) for each in measures])
        self._segment, self._cut = [segment for segment, _ in parts], [cut for _, cut in parts]
        self._rest = np.array([_least_rest(*part, np.add) for part in parts])
        self._rest_stage = _least_rest(tables.segment_stage, tables.cut_stage, np.maximum)
        self._priced = [PricedGoal(tables, parts, goal.measure, self._limits) for goal in goals]
        self._staged = any(goal.stage_weight for goal in goals)
        self._missing: dict[int, int] = {}
        self._known: dict[tuple[int, int, int], list[tuple[float, ...]]] = {}

    def run(self, budget: Budget, gap: float = 0.0) -> float:
        """Best first, until nothing is left or the budget is spent.

        Returns:
            A lower bound of the first goal over all chains not yet known; infinite when there
            are none that any known chain leaves room for.
        """
        heap: list[tuple[tuple[float, ...], int, _Label]] = []
        count = 0
        start = _Label(-1, -1, 0, (0.0,) * len(self._limits), self._tables.floor_s, 0, None)
        for bounds, label in self._extend(start):
            heapq.heappush(heap, (bounds, count := count + 1, label))
        while heap:
            bounds, _, label = heapq.heappop(heap)
            if budget.exhausted or self._near(bounds[0], gap):
                return bounds[0]
            if self._beaten(bounds) or self._overtaken(label):
                continue
            if label.last == self._tables.units - 1:
                self._points.append(Point(bounds, label.path()))
                continue
            budget.nodes += 1
            for further, following in self._extend(label):
                heapq.heappush(heap, (further, count := count + 1, following))
        return math.inf

    def _near(self, bound: float, gap: float) -> bool:
        """With one goal a gap that is small enough ends the search."""
        if len(self._goals) > 1 or not self._points:
            return False
        return bound >= min(point.values[0] for point in self._points) * (1 - gap)

    def _beaten(self, bounds: tuple[float, ...]) -> bool:
        """Whether some known chain is as good in every goal."""
        return any(
            all(v <= b * (1 + RELATIVE_TOLERANCE) for v, b in zip(p.values, bounds, strict=True))
            for p in self._points
        )

    def _figures(self, label: _Label) -> tuple[float, ...]:
        return (*label.sums, label.stage_s) if self._staged else label.sums

    def _overtaken(self, label: _Label) -> bool:
        """Whether a label that came later dominates this one."""
        return self._figures(label) not in self._known[label.used, label.n, label.last]

    def _enter(self, label: _Label) -> bool:
        """Keep the label unless one with the same keys is as good; drop those that it beats."""
        key, figures = (label.used, label.n, label.last), self._figures(label)
        others = self._known.setdefault(key, [])
        if any(all(a <= b for a, b in zip(other, figures, strict=True)) for other in others):
            return False
        others[:] = [o for o in others if not all(a <= b for a, b in zip(figures, o, strict=True))]
        others.append(figures)
        return True

    def _extend(self, label: _Label) -> list[tuple[tuple[float, ...], _Label]]:
        """All segments that may follow, with the lower bounds of their completions."""
        i = label.last + 1
        left = self._tables.max_segments - label.used.bit_count() - 1
        found = []
        for m in self._twins.available(label.used) if left >= 0 else ():
            used = label.used | 1 << m
            missing = self._missing_rows(used)
            if not 0 <= missing <= min(left, self._tables.units - 1 - i):
                continue
            for j, sums, stage_s, bounds in self._segments(label, m, i, used, left):
                following = _Label(m, j, used, sums, stage_s, i, label)
                whole = j == self._tables.units - 1
                if (whole and missing) or self._beaten(bounds) or not self._enter(following):
                    continue
                found.append((bounds, following))
        return found

    def _missing_rows(self, used: int) -> int:
        if used not in self._missing:
            self._missing[used] = self._rules.missing(used)
        return self._missing[used]

    def _segments(
        self, label: _Label, m: int, i: int, used: int, left: int
    ) -> list[tuple[int, tuple[float, ...], float, tuple[float, ...]]]:
        """Last unit, sums, longest stage and goal bounds of each segment of ``m`` from ``i``."""
        n = label.n
        way = [cut[n, m, i - 1] if n >= 0 else 0.0 for cut in self._cut]
        sums = np.array(
            [
                total + hop + segment[m, i, i:]
                for total, hop, segment in zip(label.sums, way, self._segment, strict=True)
            ]
        )
        hop_s = self._tables.cut_stage[n, m, i - 1] if n >= 0 else 0.0
        stage_s = np.maximum(max(label.stage_s, hop_s), self._tables.segment_stage[m, i, i:])
        longest_s = np.maximum(stage_s, self._rest_stage[m, i:])
        least = sums + self._rest[:, m, i:]
        possible = np.isfinite(longest_s) & (least <= self._limits[:, None]).all(axis=0)
        possible &= np.isfinite(least).all(axis=0)
        if left == 0:
            possible[:-1] = False
        bounds = [
            self._bound(number, sums, least, longest_s, m, i, used, left)
            for number in range(len(self._goals))
        ]
        return [
            (
                i + int(k),
                tuple(float(total) for total in sums[:, k]),
                float(stage_s[k]),
                tuple(float(bound[k]) for bound in bounds),
            )
            for k in np.flatnonzero(possible)
        ]

    def _bound(
        self,
        number: int,
        sums: FloatArray,
        least: FloatArray,
        longest_s: FloatArray,
        m: int,
        i: int,
        used: int,
        left: int,
    ) -> FloatArray:
        """Lower bound of one goal for each last unit; exact for the last."""
        goal, priced = self._goals[number], self._priced[number]
        value = np.zeros(sums.shape[1])
        if goal.weight:
            total = least[goal.measure].copy()
            refined = priced.mixed(sums[:, :-1]) + priced.after(m, i, used, left)[:-1]
            total[:-1] = np.maximum(total[:-1], refined - priced.offset)
            value = goal.weight * total
        if goal.stage_weight:
            value = value + goal.stage_weight * longest_s
        bound: FloatArray = value
        return bound


def _least_rest(segment: FloatArray, cut: FloatArray, join: np.ufunc) -> FloatArray:
    """``[N, L]`` least sum (or longest stage) after unit j on device n, devices used at will."""
    count, units = segment.shape[:2]
    rest = np.full((count, units), np.inf)
    rest[:, -1] = 0.0
    for i in range(units - 1, 0, -1):
        enter = join(segment[:, i, i:], rest[:, i:]).min(axis=1)
        rest[:, i - 1] = join(cut[:, :, i - 1], enter[None, :]).min(axis=1)
    return rest
