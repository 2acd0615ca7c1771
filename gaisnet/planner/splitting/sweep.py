"""Label search, unit by unit, for many labels at once.

A label is (devices used, last device n, last unit j) with its true cost g. It is kept while

    f = g + E[n,j,s] - prices of the devices not used yet - sigma * segments left

is below the cutoff, where the memory s holds every used device that n can remember: completions
enter no used device, so f never exceeds the cost of a chain through the label (see
``lagrangian``). Of labels with the same devices used and the same last device and unit only the
cheapest is kept. Per unit at most ``width`` labels go on, those with the least f; the least f of
the others is the bound. A sweep that drops none is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.instance import BoolArray, FloatArray
from gaisnet.planner.splitting.lagrangian import Completion, Prices
from gaisnet.planner.splitting.neighbours import IntArray
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["Sweep"]

_WORD = 64
_CHILDREN_PER_NODE = 1_000
_HOPS_PER_NODE = 8_000
_MOST_PAIRS = 1 << 18


@dataclass(frozen=True)
class _Labels:
    """Labels that end before the same unit, as columns."""

    used: npt.NDArray[np.uint64]
    """``[W, words]`` bit mask of the devices used."""
    device: IntArray
    cost: FloatArray
    paid: FloatArray
    """Prices of the devices and segments used."""
    estimate: FloatArray
    begin: IntArray
    parent: IntArray
    """Row of the label before, among those kept before unit ``begin``."""

    def take(self, rows: IntArray | BoolArray) -> _Labels:
        return _Labels(*(getattr(self, field.name)[rows] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.device)


def _joined(parts: list[_Labels]) -> _Labels:
    return _Labels(
        *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Labels))
    )


@dataclass(frozen=True)
class _Steps:
    """Hops from kept labels to next devices."""

    row: IntArray
    device: IntArray
    used: npt.NDArray[np.uint64]
    memory: IntArray
    cost: FloatArray
    paid: FloatArray


class Sweep:
    """One search over one chain problem, below a cutoff."""

    def __init__(
        self, tables: ChainTables, prices: Prices, ways: Completion, twins: Twins, cutoff: float
    ) -> None:
        self._tables, self._ways = tables, ways
        self._fee: FloatArray = prices.device + prices.segment
        self._refund = prices.refund(tables.max_segments)
        self._bits = _bits([1 << n for n in range(tables.devices)])
        self._before = _bits(list(twins.previous))
        self._kind = np.array(twins.representative)
        width = ways.near.width
        self._near = np.zeros((width, *self._bits.shape), dtype=np.uint64)
        for n, near in enumerate(ways.near.near):
            for bit, m in enumerate(near):
                self._near[bit, n] = self._bits[m]
        self._value = cutoff
        self._best: tuple[int, int, int] | None = None
        self._dropped = math.inf

    def run(self, width: int, budget: Budget) -> Found:
        """Sweep over all units.

        Args:
            width: Labels that may go on per unit.
            budget: A thousand children are a node; when it is spent, the bound is the root's.
        """
        units = self._tables.units
        waiting: list[list[_Labels]] = [[] for _ in range(units)]
        kept: list[_Labels | None] = [self._root()]
        self._expand(0, self._root(), waiting, budget)
        for i in range(1, units):
            labels = self._select(waiting[i], width)
            waiting[i] = []
            kept.append(labels)
            if labels is None:
                continue
            if budget.exhausted:
                self._dropped = self._ways.bound
                break
            chunk = max(_MOST_PAIRS // self._tables.devices, 1)
            for start in range(0, len(labels), chunk):
                rows = np.arange(start, min(start + chunk, len(labels)))
                self._expand(i, labels.take(rows), waiting, budget, start)
        path = self._trace(kept) if self._best else None
        return Found(path, self._value, min(self._dropped, self._value))

    def _root(self) -> _Labels:
        nothing, zero = np.zeros(1), np.zeros(1, dtype=np.intp)
        used = np.zeros((1, self._bits.shape[1]), dtype=np.uint64)
        return _Labels(used, zero, nothing, nothing, nothing, zero, zero)

    def _threshold(self) -> float:
        """Labels from here on are not worth keeping."""
        finite = math.isfinite(self._value)
        return self._value - RELATIVE_TOLERANCE * abs(self._value) if finite else math.inf

    def _select(self, parts: list[_Labels], width: int) -> _Labels | None:
        """The cheapest label of each state that may go on, the best ``width`` of them."""
        if not parts:
            return None
        labels = _joined(parts)
        segments = np.bitwise_count(labels.used).sum(axis=1)
        labels = labels.take(
            (labels.estimate < self._threshold()) & (segments < self._tables.max_segments)
        )
        if not len(labels):
            return None
        kind = self._kind[labels.device]
        order = np.lexsort((labels.cost, kind, *labels.used.T))
        labels, kind = labels.take(order), kind[order]
        fresh = np.ones(len(labels), dtype=bool)
        fresh[1:] = (kind[1:] != kind[:-1]) | (labels.used[1:] != labels.used[:-1]).any(axis=1)
        labels = labels.take(fresh)
        if len(labels) > width:
            order = np.argsort(labels.estimate, kind="stable")
            self._dropped = min(self._dropped, float(labels.estimate[order[width]]))
            labels = labels.take(np.sort(order[:width]))
        return labels

    def _expand(
        self, i: int, labels: _Labels, waiting: list[list[_Labels]], budget: Budget, start: int = 0
    ) -> None:
        """All worthwhile next segments of ``labels``, which begin with unit i."""
        steps = self._steps(i, labels)
        children = 0
        if not len(steps.row):
            return
        units = self._tables.units
        span = self._tables.from_unit[i, : units - i]
        for d in range(len(span)):
            j = i + d
            cost = steps.cost + span[d, steps.device]
            if j == units - 1:
                self._complete(i, steps, cost, start)
                break
            ahead = self._ways.after[j, steps.device, steps.memory]
            estimate = cost + steps.paid + ahead - self._refund
            good = np.flatnonzero(estimate < self._threshold())
            if len(good):
                children += len(good)
                device = steps.device[good]
                waiting[j + 1].append(
                    _Labels(
                        steps.used[good] | self._bits[device],
                        device,
                        cost[good],
                        steps.paid[good],
                        estimate[good],
                        np.full(len(good), i),
                        steps.row[good] + start,
                    )
                )
        hops = len(labels) * self._tables.devices
        budget.nodes += 1 + children // _CHILDREN_PER_NODE + hops // _HOPS_PER_NODE

    def _steps(self, i: int, labels: _Labels) -> _Steps:
        """Hops to devices that are free, in the order of their twins, and may lead to something."""
        cost = np.repeat(labels.cost[:, None], self._tables.devices, axis=1)
        if i:
            cost += self._tables.cut_after[i - 1][labels.device]
        used = labels.used[:, None, :]
        open_ = ((used & self._bits) == 0).all(axis=2) & (
            (used & self._before) == self._before
        ).all(axis=2)
        enter = self._ways.enter[i, :-1].reshape(self._tables.devices, -1)
        paid = labels.paid - self._refund
        open_ &= cost + paid[:, None] + enter[:, 0] < self._threshold()
        row, device = np.nonzero(open_)
        before = labels.used[row]
        memory = self._memory(before, device)
        arrived = cost[row, device]
        good = arrived + paid[row] + enter[device, memory] < self._threshold()
        row, device, memory, arrived = row[good], device[good], memory[good], arrived[good]
        fee = labels.paid[row] + self._fee[device]
        return _Steps(row, device, before[good], memory, arrived, fee)

    def _memory(self, used: npt.NDArray[np.uint64], device: IntArray) -> IntArray:
        """What ``device`` can remember of ``used``."""
        memory = np.zeros(len(device), dtype=np.intp)
        for bit, near in enumerate(self._near):
            memory |= ((used & near[device]) != 0).any(axis=1).astype(np.intp) << bit
        return memory

    def _complete(self, i: int, steps: _Steps, cost: FloatArray, start: int) -> None:
        """Take the cheapest way to finish, if it beats the incumbent."""
        cheapest = int(cost.argmin())
        if cost[cheapest] < self._threshold():
            self._value = float(cost[cheapest])
            self._best = (i, int(steps.row[cheapest]) + start, int(steps.device[cheapest]))

    def _trace(self, kept: list[_Labels | None]) -> list[Segment]:
        assert self._best is not None
        i, row, device = self._best
        path, last = [(device, i, self._tables.units - 1)], i - 1
        while last >= 0:
            labels = kept[last + 1]
            assert labels is not None
            begin = int(labels.begin[row])
            path.append((int(labels.device[row]), begin, last))
            row, last = int(labels.parent[row]), begin - 1
        return path[::-1]


def _bits(masks: list[int]) -> npt.NDArray[np.uint64]:
    """``[N, words]`` of Python's long integers."""
    words = max(-(-len(masks) // _WORD), 1)
    full = (1 << _WORD) - 1
    rows = [[mask >> _WORD * word & full for word in range(words)] for mask in masks]
    return np.array(rows, dtype=np.uint64)
