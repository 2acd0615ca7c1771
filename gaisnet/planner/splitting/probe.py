"""Is there a chain whose stages all fit into a given period?

Depth-first search over labels (devices used, last device n, last unit j) with the capacity
certificates of ``capacity``, the prices of ``contention``, and one dominance rule. Call a label
*free* when n can reach every unused device that could hold unit j+1. A free label with last unit
j dominates every label with the same used devices and a last unit <= j, whatever its last device:
take the dominated label's continuation, drop the segments that end by j, trim the next one to
begin at j+1 (stages only get shorter), and reach its device, which is possible because the label
is free.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gaisnet.planner.splitting.budget import Budget
from gaisnet.planner.splitting.capacity import Capacity, dual_weights
from gaisnet.planner.splitting.contention import PROOF, contend, equal_prices
from gaisnet.planner.splitting.instance import BoolArray, FloatArray
from gaisnet.planner.splitting.lagrangian import Completion, Prices
from gaisnet.planner.splitting.neighbours import Neighbourhoods, Returns
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.sweep import Sweep
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["Probe", "Verdict"]

_DUAL_ROUNDS = 40


@dataclass(frozen=True)
class Verdict:
    """What a probe found out."""

    path: list[Segment] | None
    """A chain within the period."""
    proven: bool
    """False when the budget ended before anything was known."""


@dataclass(frozen=True, slots=True)
class _Label:
    device: int
    last: int
    used: int
    begin: int
    parent: _Label | None

    def path(self) -> list[Segment]:
        label: _Label | None = self
        segments: list[Segment] = []
        while label is not None:
            segments.append((label.device, label.begin, label.last))
            label = label.parent
        return segments[::-1]


class Probe:
    """One feasibility question: ``tables`` with every stage at most ``period_s``."""

    def __init__(
        self,
        tables: ChainTables,
        twins: Twins,
        period_s: float,
        weight: FloatArray | None = None,
    ) -> None:
        self._tables, self._twins = tables, twins
        self._allowed: BoolArray = (tables.segment_stage <= period_s) & np.isfinite(
            tables.segment_stage
        )
        linked: BoolArray = np.logical_and(
            tables.cut_stage <= period_s, np.isfinite(tables.cut_stage)
        )
        self._linked = _masks(linked.transpose(0, 2, 1))
        holders: BoolArray = np.any(self._allowed, axis=2)
        self._able = _masks(holders.T[None])[0]
        self._ends = [
            [np.flatnonzero(row)[::-1].tolist() for row in rows] for rows in self._allowed
        ]
        self._furthest: dict[int, int] = {}
        self._seen: set[tuple[int, int, int]] = set()
        self._hopeless = tables.floor_s > period_s
        equal = np.ones(tables.units)
        weights, slack = dual_weights(
            self._allowed, equal if weight is None else weight, _DUAL_ROUNDS
        )
        self.weight = weights
        self._hopeless |= slack < -1e-9
        self._capacity = Capacity(self._allowed, [equal, weights], tables.max_segments)
        self._costless = replace(
            tables,
            segment_cost=np.where(self._allowed, 0.0, np.inf),
            cut_cost=np.where(linked, 0.0, np.inf),
        )
        self._ways: Completion | None = None
        self._prices = equal_prices(tables)
        self._refunds: dict[int, float] = {}

    @property
    def hopeless(self) -> bool:
        """Do the certificates alone rule the period out?"""
        return self._hopeless or not self._capacity.enough(0, 0)

    def price(self, prices: Prices, near: Neighbourhoods) -> None:
        """Use known prices; see ``tighten``."""
        self.tighten(prices, near, 0, Budget())

    def tighten(
        self,
        prices: Prices,
        near: Neighbourhoods,
        rounds: int,
        budget: Budget,
        returns: Returns | None = None,
    ) -> Prices:
        """Look for a proof of infeasibility by prices; they also prune what comes after."""
        prices, ways = contend(self._costless, prices, near, rounds, budget, returns)
        self._prices, self._ways = prices, ways
        self._refunds.clear()
        self._hopeless |= ways.bound > PROOF
        return prices

    def sweep(self, width: int, budget: Budget) -> Verdict:
        """Search in breadth, for the chain that leaves the devices with the dearest use unused."""
        if self.hopeless:
            return Verdict(None, proven=True)
        assert self._ways is not None, "sweeps need prices: tighten first"
        found = Sweep(self._costless, self._prices, self._ways, self._twins, 2 * PROOF).run(
            width, budget
        )
        return Verdict(found.path, proven=found.path is not None or found.bound > PROOF)

    def run(self, budget: Budget, node_limit: int | None = None) -> Verdict:
        """Search until a chain is found, none is left, or a limit is reached."""
        if self.hopeless:
            return Verdict(None, proven=True)
        self._furthest.clear()
        self._seen.clear()
        stack = self._children(None)
        spent = 0
        while stack:
            label = stack.pop()
            if label.last == self._tables.units - 1:
                return Verdict(label.path(), proven=True)
            if self._dominated(label):
                continue
            if budget.exhausted or (node_limit is not None and spent >= node_limit):
                return Verdict(None, proven=False)
            spent += 1
            budget.nodes += 1
            stack.extend(self._children(label))
        return Verdict(None, proven=True)

    def _children(self, label: _Label | None) -> list[_Label]:
        """Worthwhile next segments, the most promising last."""
        used, i = (label.used, label.last + 1) if label else (0, 0)
        targets = self._able[i] & ~used
        if label:
            targets &= self._linked[label.device][label.last]
        children: list[tuple[float, _Label]] = []
        for n in self._twins.available(used):
            if targets >> n & 1:
                children.extend(self._segments(label, used | 1 << n, n, i))
        children.sort(key=lambda entry: entry[0])
        return [child for _, child in children]

    def _segments(
        self, parent: _Label | None, used: int, n: int, i: int
    ) -> list[tuple[float, _Label]]:
        """Segments of device ``n`` from unit ``i``, longest first, down to the first free one."""
        slack = self._capacity.slack(used)
        found = []
        for j in self._ends[n][i]:
            if self._capacity.enough(used, j + 1) and not self._ruled_out(n, j, used):
                found.append((slack[j + 1], _Label(n, j, used, i, parent)))
            if self._is_free(n, j, used):
                break
        return found

    def _ruled_out(self, n: int, j: int, used: int) -> bool:
        """Do the prices prove that nothing completes this label?"""
        if self._ways is None:
            return False
        refund = self._refunds.get(used)
        if refund is None:
            refund = self._refunds[used] = self._refund(used)
        memory = 0
        for bit, m in enumerate(self._ways.near.near[n]):
            memory |= (used >> m & 1) << bit
        return bool(self._ways.after[j, n, memory] - refund > PROOF)

    def _refund(self, used: int) -> float:
        """The price of what is not used yet."""
        unused = [n for n in range(self._tables.devices) if not used >> n & 1]
        left = self._tables.max_segments - used.bit_count()
        return float(self._prices.device[unused].sum()) + self._prices.segment * left

    def _is_free(self, n: int, j: int, used: int) -> bool:
        if j + 1 == self._tables.units:
            return True
        return not self._able[j + 1] & ~used & ~self._linked[n][j]

    def _dominated(self, label: _Label) -> bool:
        """Was a label at least as good seen before? Remembers this one if not."""
        if label.last <= self._furthest.get(label.used, -1):
            return True
        if self._is_free(label.device, label.last, label.used):
            self._furthest[label.used] = label.last
            return False
        key = (label.used, self._twins.representative[label.device], label.last)
        if key in self._seen:
            return True
        self._seen.add(key)
        return False


def _masks(flags: BoolArray) -> list[list[int]]:
    """``[A, B, N]`` flags as A lists of B bit masks over N."""
    packed = np.packbits(flags, axis=2, bitorder="little")
    return [[int.from_bytes(cell.tobytes(), "little") for cell in row] for row in packed]
