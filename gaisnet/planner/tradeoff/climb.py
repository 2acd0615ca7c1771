"""Better routings by moving one group or swapping two, each judged by exact cluster values.

At a cluster's prices, h says what a group costs there. A cluster's value is concave in what it
serves, so that differences of h bound what a move or swap can gain; only those that may gain are
valued.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaisnet.planner.tradeoff.instance import FloatArray, Instance, IntArray
from gaisnet.planner.tradeoff.values import Batch, ClusterValues

__all__ = ["BoolArray", "Choice", "Climb"]

GAIN = 1e-7
"""Of the instance's size: the least gain worth a step."""
AT_ONCE = 256
"""Moves or swaps valued together."""
MOST_VALUED = 60_000
"""Moves and swaps valued in one climb."""

BoolArray = npt.NDArray[np.bool_]


@dataclass(kw_only=True)
class Choice:
    """A routing with its clusters' values."""

    at: IntArray
    """``[G]`` cluster of each group."""
    value: FloatArray
    """``[C]``"""
    price: FloatArray
    """``[C, 2]``"""
    over: FloatArray
    """``[C]`` resources that it lacks."""

    @property
    def total(self) -> float:
        """Without what fixed latencies lose."""
        return float(self.value.sum())

    @property
    def feasible(self) -> bool:
        """Whether all SLOs hold within the resources."""
        return bool(self.over.max(initial=0.0) <= 1e-7)


@dataclass(frozen=True, kw_only=True)
class _Steps:
    """Moves of ``group`` to cluster ``to``, and of ``back`` from there in exchange (-1: none)."""

    group: IntArray
    to: IntArray
    back: IntArray
    most: FloatArray
    """A bound on what each gains."""

    def pick(self, which: IntArray) -> _Steps:
        return _Steps(
            group=self.group[which], to=self.to[which], back=self.back[which], most=self.most[which]
        )


class Climb:
    """Local search on one instance."""

    def __init__(self, instance: Instance, values: ClusterValues) -> None:
        self._values, pairs = values, instance.pairs
        problem = instance.problem
        self._shape = len(problem.groups), len(problem.clusters)
        self._pair = np.full(self._shape, -1, dtype=np.int64)
        """``[G, C]``; -1: not allowed."""
        self._pair[pairs.group, pairs.cluster] = np.arange(len(pairs))
        self._least = GAIN * instance.size
        memory = [np.inf if c.memory_bytes is None else c.memory_bytes for c in problem.clusters]
        self._memory = np.array(memory, dtype=np.float64)
        domains = sorted({group.domain for group in problem.groups})
        self._domain = np.array([domains.index(g.domain) for g in problem.groups], dtype=np.int64)
        self._bytes = np.array([problem.modules_bytes.get(d, 0.0) for d in domains])

    def choice(self, at: IntArray, start: FloatArray | None = None) -> Choice:
        """A routing valued."""
        batch = Batch(
            cluster=np.arange(self._shape[1]),
            row=at,
            pair=self.pairs(at),
            part=np.ones(self._shape[0]),
        )
        found = self._values.value(batch, start)
        return Choice(at=at.copy(), value=found.value, price=found.price, over=found.over)

    def improve(self, choice: Choice) -> Choice:
        """Steps until none gains; moves while there are some, then swaps."""
        left = MOST_VALUED
        while left > 0:
            for steps in (self._moves(choice), self._swaps(choice)):
                gained, valued = self._take(choice, steps, left)
                left -= valued
                if gained:
                    break
            else:
                return choice
        return choice

    def pairs(self, at: IntArray) -> IntArray:
        """``[G]`` pairs of a routing."""
        found: IntArray = self._pair[np.arange(self._shape[0]), at]
        return found

    def fits(self, at: IntArray) -> bool:
        """Whether all modules fit their clusters' memory."""
        return bool((self._held(at) <= self._memory).all())

    def _held(self, at: IntArray) -> FloatArray:
        """``[C]`` bytes of modules."""
        held: FloatArray = (self._counts(at) > 0) @ self._bytes
        return held

    def _counts(self, at: IntArray) -> IntArray:
        counts = np.zeros((self._shape[1], len(self._bytes)), dtype=np.int64)
        np.add.at(counts, (at, self._domain), 1)
        return counts

    def _costs(self, choice: Choice) -> FloatArray:
        """``[G, C]`` h at the clusters' prices; infinite where not allowed."""
        costs = np.full(self._shape, np.inf)
        pairs = self._values.pairs
        every = np.arange(len(pairs))
        served = self._values.pricing.serve(every, choice.price[pairs.cluster])
        costs[pairs.group, pairs.cluster] = served.value
        return costs

    def _moves(self, choice: Choice) -> _Steps:
        costs = self._costs(choice)
        gain = costs[np.arange(self._shape[0]), choice.at][:, None] - costs
        gain[np.arange(self._shape[0]), choice.at] = -np.inf
        group, to = np.nonzero(gain > self._least)
        steps = _Steps(group=group, to=to, back=np.full(len(group), -1), most=gain[group, to])
        return self._fitting(choice, steps)

    def _swaps(self, choice: Choice) -> _Steps:
        costs = self._costs(choice)
        mine = costs[np.arange(self._shape[0]), choice.at]
        there = mine[:, None] - costs[:, choice.at]
        gain = np.triu(there + there.T, 1)
        group, back = np.nonzero(gain > self._least)
        steps = _Steps(group=group, to=choice.at[back], back=back, most=gain[group, back])
        return self._fitting(choice, steps)

    def _fitting(self, choice: Choice, steps: _Steps) -> _Steps:
        """Those that memory allows, the most promising first."""
        order = np.argsort(-steps.most, kind="stable")
        steps = steps.pick(order)
        if np.isinf(self._memory).all():
            return steps
        counts, held = self._counts(choice.at), self._held(choice.at)
        into = self._grown(counts, held, steps.to, steps.group, steps.back)
        source = choice.at[steps.group]
        back = self._grown(counts, held, source, steps.back, steps.group)
        fits = (into <= self._memory[steps.to]) & (back <= self._memory[source])
        return steps.pick(np.flatnonzero(fits))

    def _grown(
        self, counts: IntArray, held: FloatArray, at: IntArray, comes: IntArray, goes: IntArray
    ) -> FloatArray:
        """Bytes at clusters ``at`` once groups have come and gone (-1: none)."""
        new, old = self._domain[comes], self._domain[goes]
        same = (new == old) & (comes >= 0) & (goes >= 0)
        adds = (counts[at, new] == 0) & (comes >= 0) & ~same
        frees = (counts[at, old] == 1) & (goes >= 0) & ~same
        grown: FloatArray = held[at] + adds * self._bytes[new] - frees * self._bytes[old]
        return grown

    def _take(self, choice: Choice, steps: _Steps, most: int) -> tuple[bool, int]:
        """Value steps in turns until some gain; take the best that don't share a cluster."""
        valued = 0
        for first in range(0, min(len(steps.group), most), AT_ONCE):
            some = steps.pick(np.arange(first, min(first + AT_ONCE, len(steps.group))))
            valued += len(some.group)
            if self._take_best(choice, some):
                return True, valued
        return False, valued

    def _take_best(self, choice: Choice, steps: _Steps) -> bool:
        source, count = choice.at[steps.group], len(steps.group)
        cluster = np.concatenate([source, steps.to])
        comes = np.concatenate([steps.back, steps.group])
        goes = np.concatenate([steps.group, steps.back])
        old = choice.value[source] + choice.value[steps.to]
        found = self._values.value(
            self._batch(choice, cluster, comes, goes),
            choice.price[cluster],
            old + self._least,
        )
        gain = found.value[:count] + found.value[count:] - old
        touched: set[int] = set()
        for i in np.argsort(-gain, kind="stable").tolist():
            if gain[i] <= self._least:
                break
            a, b = int(source[i]), int(steps.to[i])
            if touched & {a, b}:
                continue
            touched |= {a, b}
            choice.at[steps.group[i]] = b
            if steps.back[i] >= 0:
                choice.at[steps.back[i]] = a
            for c, row in ((a, i), (b, i + count)):
                choice.value[c], choice.price[c] = found.value[row], found.price[row]
                choice.over[c] = found.over[row]
        return bool(touched)

    def _batch(self, choice: Choice, cluster: IntArray, comes: IntArray, goes: IntArray) -> Batch:
        serves = choice.at[None, :] == cluster[:, None]
        rows = np.arange(len(cluster))
        serves[rows[comes >= 0], comes[comes >= 0]] = True
        serves[rows[goes >= 0], goes[goes >= 0]] = False
        row, group = np.nonzero(serves)
        return Batch(
            cluster=cluster, row=row, pair=self._pair[group, cluster[row]], part=np.ones(len(row))
        )
