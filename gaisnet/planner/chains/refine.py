"""Exact depth-first search over the chains of one depth of head and tail.

It sees what the array search averages away: each turn has its own longest stage, and a segment's
transient memory is the highest of its units. Bounds are those of the cheapest rest of a chain
whose segments fit, holders that may come again allowed; so it is made for closing small gaps.

Index letters: ``n``, ``m`` holders (N), ``i`` first and ``j`` last unit of a segment, counted
from the end of the head (U units), ``T`` turns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gaisnet.planner.chains.allowances import inner_rules
from gaisnet.planner.chains.body import Body, BoolArray, FloatArray
from gaisnet.planner.splitting.rules import NO_RULES

__all__ = ["Refinement"]

IntArray = npt.NDArray[np.int64]
Path = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class _Partial:
    """A chain up to and with holder ``n``, whose segment begins at unit ``i``."""

    n: int
    i: int
    cost: float
    """Additive cost before the segment."""
    stage_s: FloatArray
    """``[T]`` longest stage of each turn so far."""
    path: Path = ()

    @property
    def used(self) -> list[int]:
        return [self.n, *(n for n, _, _ in self.path)]


@dataclass(kw_only=True)
class Refinement:
    """The best chain between two ends that is better than ``value``.

    Attributes:
        body: The cluster's arrays.
        ends: Units of the head, and first unit of the tail.
        value: Objective to be undercut; afterwards that of ``path`` if there is one.
        node_limit: Segments to begin.
    """

    body: Body
    ends: tuple[int, int]
    value: float
    node_limit: int
    path: Path | None = None
    nodes: int = 0
    complete: bool = True
    _gap: float = field(init=False)

    def __post_init__(self) -> None:
        task, (head, tail) = self.body.task, self.ends
        body, energy = self.body, self.body.task.objective == "energy"
        self._gap = max(min(task.search.gap / 2.0, 1.0), 1e-9)
        factor = 0.0 if task.objective == "period" else float(task.turns)
        factor *= task.microbatches if energy else 1
        later = {"period": 1, "makespan": task.microbatches - 1}
        self._pipelined = later.get(task.objective, 0)
        self._hop_s = body.hop_s[:, :, head : tail - 1]
        self._stage_s = _segments(body.work_s[:, head:tail], body.fits(head, tail))
        work, hop = (body.work_j, body.hop_j) if energy else (body.work_s, body.hop_s)
        priced = factor * work[:, head:tail] + body.moving[:, head:tail]
        self._cost = _segments(priced, body.fits(head, tail))
        self._hop = _times(factor, hop[:, :, head : tail - 1], self._hop_s)
        self._hop[np.arange(len(hop)), np.arange(len(hop))] = np.inf
        entry, leave = body.entry, body.leave
        way_in = (entry.energy_j if energy else entry.through_s)[head]
        way_out = (leave.energy_j if energy else leave.through_s)[tail]
        self._entry = _times(factor, way_in, entry.stage_s[head]) + body.ends_moving(head, tail)
        self._leave = _times(factor, way_out, leave.stage_s[tail])
        self._rules = inner_rules(body, head, tail) or NO_RULES
        self._own_s, self._start_s = body.turn_busy_s(head, tail)
        self._rest = _cheapest_rest(self._cost, self._hop, self._leave)

    def run(self) -> Refinement:
        """Search; returns itself."""
        entry_s = self.body.entry.turns_s[:, self.ends[0]]
        stages = [np.maximum(self._start_s, entry_s[:, n]) for n in range(len(self._entry))]
        bounds = [
            self._bound(self._entry[n] + self._rest[n, 0], stages[n])
            for n in range(len(self._entry))
        ]
        for n in np.argsort(bounds, kind="stable"):
            if self._worse(bounds[n]):
                break
            start = _Partial(n=int(n), i=0, cost=float(self._entry[n]), stage_s=stages[n])
            self._extend(start)
        return self

    def _bound(self, cost: float, stage_s: FloatArray) -> float:
        """Objective, summed over turns; additive costs are in its units already."""
        value = self._pipelined * float(stage_s.sum()) if self._pipelined else 0.0
        return value + float(cost)

    def _worse(self, bound: float) -> bool:
        if math.isinf(self.value):
            return math.isinf(bound)
        return bound >= self.value * (1.0 - self._gap)

    def _extend(self, at: _Partial) -> None:
        """All segments that begin here, and all holders that may come next."""
        if self.nodes >= self.node_limit:
            self.complete = False
            return
        self.nodes += 1
        units = self._cost.shape[1]
        ends = at.i + np.flatnonzero(np.isfinite(self._cost[at.n, at.i, at.i :]))
        costs = at.cost + self._cost[at.n, at.i, ends]
        own = self._stage_s[at.n, at.i, ends][:, None] + self._own_s[at.n]
        stages = np.maximum(at.stage_s, own)
        if len(ends) and ends[-1] == units - 1:
            self._finish(at, float(costs[-1]), stages[-1])
            ends, costs, stages = ends[:-1], costs[:-1], stages[:-1]
        most = self.body.task.max_stages or len(self._cost)
        if len(ends) and len(at.path) + 1 < most:
            self._branch(at, ends, costs, stages)

    def _finish(self, at: _Partial, cost: float, stage_s: FloatArray) -> None:
        leave_s = self.body.leave.turns_s[:, self.ends[1], at.n]
        path = (*at.path, (at.n, at.i, self._cost.shape[1] - 1))
        if not np.isfinite(self._leave[at.n]) or not self._rules.allow(path):
            return
        value = self._bound(cost + self._leave[at.n], np.maximum(stage_s, leave_s))
        if not self._worse(value):
            self.value = value
            self.path = path

    def _branch(self, at: _Partial, ends: IntArray, costs: FloatArray, stages: FloatArray) -> None:
        """Next holders in the order of their bounds; ``ends`` are last units of this segment."""
        hops_s = self._hop_s[at.n][:, ends].T
        following = costs[:, None] + self._hop[at.n][:, ends].T
        total = following + self._rest[:, ends + 1].T
        total[:, at.used] = np.inf
        longest = np.maximum(stages[:, None, :], hops_s[:, :, None])
        bounds = total
        if self._pipelined:
            bounds = total + self._pipelined * longest.sum(axis=-1)
        for flat in np.argsort(bounds, axis=None, kind="stable"):
            k, m = divmod(int(flat), bounds.shape[1])
            if self._worse(float(bounds[k, m])):
                break
            j = int(ends[k])
            self._extend(
                _Partial(
                    n=m,
                    i=j + 1,
                    cost=float(following[k, m]),
                    stage_s=longest[k, m],
                    path=(*at.path, (at.n, at.i, j)),
                )
            )


def _times(factor: float, costs: FloatArray, ways_s: FloatArray) -> FloatArray:
    """``factor · costs`` in the objective's units; inf where there is no way."""
    linked = np.isfinite(ways_s)
    return np.where(linked, factor * np.where(linked, costs, 0.0), np.inf)


def _segments(per_unit: FloatArray, fits: BoolArray) -> FloatArray:
    """``[N, U, U]`` sums over units i..j; inf where they do not fit or i > j."""
    total = np.cumsum(per_unit, axis=1)
    before = total - per_unit
    sums: FloatArray = np.where(fits, total[:, None, :] - before[:, :, None], np.inf)
    return sums


def _cheapest_rest(cost: FloatArray, hop: FloatArray, leave: FloatArray) -> FloatArray:
    """``[N, U]`` least additive cost of units i.. with holder n first, and of leaving."""
    holders, units = cost.shape[:2]
    rest = np.full((holders, units), math.inf)
    onward = np.full((holders, units), math.inf)
    onward[:, -1] = leave
    for i in range(units - 1, -1, -1):
        rest[:, i] = (cost[:, i, :] + onward).min(axis=1)
        if i > 0:
            onward[:, i - 1] = (hop[:, :, i - 1] + rest[None, :, i]).min(axis=1)
    return rest
