"""Exact search for the additive objectives: A* whose estimate is the Lagrangian completion.

A label is (devices used, last device n, last unit j) with its true cost g so far, and

    f = g + E[n,j] - sum of the prices of the devices not used yet - sigma * segments left

never exceeds the cost of any chain through it (see ``lagrangian``): completions visit unused
devices at most once. Labels with the same three keys are dominated by the cheapest of them.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.instance import FloatArray
from gaisnet.planner.splitting.lagrangian import Completion, Prices
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["AStar"]


@dataclass(frozen=True, slots=True)
class Label:
    """A partial chain that ends with unit ``last`` on ``device``."""

    device: int
    last: int
    used: int
    cost: float
    parent: Label | None
    begin: int

    def path(self) -> list[Segment]:
        """Segments from the first unit on."""
        label: Label | None = self
        segments: list[Segment] = []
        while label is not None:
            segments.append((label.device, label.begin, label.last))
            label = label.parent
        return segments[::-1]


@dataclass(frozen=True)
class _Free:
    """What is the same for all labels that have used the same devices."""

    devices: npt.NDArray[np.intp]
    refund: float


class AStar:
    """One search over one chain problem, below a cutoff."""

    def __init__(
        self,
        tables: ChainTables,
        prices: Prices,
        ways: Completion,
        twins: Twins,
        cutoff: float,
    ) -> None:
        self._tables, self._prices, self._ways, self._twins = tables, prices, ways, twins
        fee = (prices.device + prices.segment)[:, None, None]
        self._priced: FloatArray = np.ascontiguousarray(
            (tables.segment_cost + fee).transpose(1, 0, 2)
        )
        self._after: FloatArray = np.ascontiguousarray(ways.after[:, :, 0].T)
        self._segment: FloatArray = np.ascontiguousarray(tables.segment_cost.transpose(1, 0, 2))
        self._cut: FloatArray = np.ascontiguousarray(tables.cut_cost.transpose(0, 2, 1))
        self._free: dict[int, _Free] = {}
        self._cheapest: dict[tuple[int, int, int], float] = {}
        self._value = cutoff
        self._best: Label | None = None

    def run(self, budget: Budget, *, gap: float = 0.0, node_limit: int | None = None) -> Found:
        """A* until the bound meets the incumbent.

        Args:
            budget: Every expansion is a node; when it is spent, the open labels are the bound.
            gap: Stop at this relative gap.
            node_limit: The share of the budget that this search may spend.
        """
        if self._ways.bound >= self._threshold():
            return self._found(self._value)
        return self._found(self._best_first(budget, gap, node_limit))

    def _found(self, bound: float) -> Found:
        path = self._best.path() if self._best else None
        return Found(path, self._value, min(bound, self._value))

    def _threshold(self) -> float:
        """Labels from here on are not worth keeping."""
        return self._value - RELATIVE_TOLERANCE * abs(self._value) if self._finite() else math.inf

    def _finite(self) -> bool:
        return math.isfinite(self._value)

    def _best_first(self, budget: Budget, gap: float, node_limit: int | None) -> float:
        heap: list[tuple[float, int, int, Label]] = []
        count, spent = 0, 0
        for f, label in self._expand(None):
            heapq.heappush(heap, (f, -label.last, count := count + 1, label))
        while heap:
            f, _, _, label = heapq.heappop(heap)
            if f >= self._threshold() or f >= self._value * (1 - gap):
                return f
            if label.cost > self._cheapest[label.used, self._kind(label.device), label.last]:
                continue
            if budget.exhausted or spent == node_limit:
                return f
            spent += 1
            budget.nodes += 1
            for child_f, child in self._expand(label):
                heapq.heappush(heap, (child_f, -child.last, count := count + 1, child))
        return self._value

    def _kind(self, device: int) -> int:
        return self._twins.representative[device]

    def _unused(self, used: int) -> _Free:
        free = self._free.get(used)
        if free is None:
            unused = [n for n in range(self._tables.devices) if not used >> n & 1]
            left = self._tables.max_segments - used.bit_count()
            refund = float(self._prices.device[unused].sum()) + self._prices.segment * left
            devices = np.array(self._twins.available(used) if left else [], dtype=np.intp)
            free = self._free[used] = _Free(devices, refund)
        return free

    def _expand(self, label: Label | None) -> list[tuple[float, Label]]:
        """Children worth keeping; complete chains become the incumbent instead."""
        used, i, cost = (label.used, label.last + 1, label.cost) if label else (0, 0, 0.0)
        free = self._unused(used)
        if not len(free.devices):
            return []
        reach: FloatArray = np.zeros(len(free.devices))
        if label:
            reach = self._cut[label.device, label.last, free.devices]
        f = self._priced[i][free.devices, i:] + (reach + (cost - free.refund))[:, None]
        f += self._after[free.devices, i:]
        self._complete(label, used, i, cost, reach, free.devices)
        rows, ends = np.nonzero(f[:, :-1] < self._threshold())
        devices = free.devices[rows]
        costs = cost + reach[rows] + self._segment[i][devices, ends + i]
        return self._keep(
            label, used, i, f[rows, ends].tolist(), devices.tolist(), ends.tolist(), costs.tolist()
        )

    def _keep(
        self,
        parent: Label | None,
        used: int,
        i: int,
        estimates: list[float],
        devices: list[int],
        ends: list[int],
        costs: list[float],
    ) -> list[tuple[float, Label]]:
        """The children that no known label dominates."""
        kept = []
        for f, device, end, cost in zip(estimates, devices, ends, costs, strict=True):
            mask = used | 1 << device
            key = (mask, self._kind(device), i + end)
            if cost < self._cheapest.get(key, math.inf):
                self._cheapest[key] = cost
                kept.append((f, Label(device, i + end, mask, cost, parent, i)))
        return kept

    def _complete(
        self,
        parent: Label | None,
        used: int,
        i: int,
        cost: float,
        reach: FloatArray,
        devices: npt.NDArray[np.intp],
    ) -> None:
        """Take the cheapest way to finish with one more segment, if it beats the incumbent."""
        totals = cost + reach + self._segment[i][devices, -1]
        cheapest = int(totals.argmin())
        if totals[cheapest] < self._threshold():
            device = int(devices[cheapest])
            self._value = float(totals[cheapest])
            last = self._tables.units - 1
            self._best = Label(device, last, used | 1 << device, self._value, parent, i)
