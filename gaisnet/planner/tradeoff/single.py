"""Single-homed routing: cuts for the bound, local search for the routing, branch and bound between.

1. Relaxation: cuts at the prices of fractional routings, until its bound is met (Kelley; in-out).
2. Its routing, rounded, is improved by moves and swaps.
3. Branch and bound among few pairs, in turns with new cuts and with local search from its routings.
4. The same among all pairs that do not cost more than the bound is away from the best value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from gaisnet.planner.tradeoff.climb import BoolArray, Choice, Climb
from gaisnet.planner.tradeoff.instance import FloatArray, Instance, IntArray
from gaisnet.planner.tradeoff.kelley import relative_gap
from gaisnet.planner.tradeoff.routing import Routing, RoutingPoint
from gaisnet.planner.tradeoff.values import Batch, ClusterValues, price_of_lack

__all__ = ["SingleSearch", "find_any", "keep_slos"]

MOST_RELAXATIONS = 60
MET = 1e-5
"""Relative distance of the relaxation's bound from its routing's value at which it is met."""
NARROW = 5
"""Pairs per group of a narrow branch and bound."""
NARROW_NODES = 20
MOST_NARROW = 8
MOST_WIDE = 2
LACK = 1e-6
"""Shares that must be lacking for a problem to be infeasible."""
SERVED = 1e-9

Allowed = Callable[[RoutingPoint], tuple[BoolArray, float]]
"""Pairs that may serve, and a bound on routings with others."""


@dataclass(kw_only=True)
class SingleSearch:
    """What is known so far about one single-homed instance; ``best`` is within ``bound`` of the
    optimum, both without what fixed latencies lose."""

    instance: Instance
    target: float
    """Relative gap at which to stop; infinite: any routing will do."""
    best: Choice | None = None
    bound: float = math.inf
    """-inf: proven infeasible."""
    nodes: int = 0
    certain: bool = True
    """False once a routing was given up that the convex solver neither solved nor refuted: the
    bound then stays where it was."""
    _refused: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.values = ClusterValues(self.instance)
        self._routing = Routing(self.instance, self.values)
        self._climb = Climb(self.instance, self.values)
        lack = LACK * price_of_lack(self.instance)
        self._lowest = -_most_delay(self.instance) - lack

    @property
    def closed(self) -> bool:
        """Whether the search may end."""
        if self.bound == -math.inf or self.best is None:
            return self.bound == -math.inf
        return relative_gap(self.best.total, self.bound) <= self.target

    @property
    def used(self) -> IntArray:
        """Pairs of the best routing."""
        assert self.best is not None
        found: IntArray = np.sort(self._climb.pairs(self.best.at))
        return found

    def run(self, *, wide: bool) -> None:
        """Search until closed or out of rounds; ``wide``: prove as well, among all pairs."""
        served = self._relax()
        if self.bound > -math.inf:
            self.offer(served)
        self.resume(wide=wide)

    def resume(self, *, wide: bool) -> None:
        """Branch and bound, narrow first."""
        idle = 0
        for _ in range(MOST_NARROW):
            before = self.best
            if self.closed or idle >= 2:
                break
            self._branch(self._narrow, NARROW_NODES)
            idle = idle + 1 if self.best is before else 0
        for _ in range(MOST_WIDE if wide else 0):
            if self.closed:
                break
            self._branch(self._useful, self.instance.problem.node_limit)

    def refuse(self, *, proven: bool) -> None:
        """Give up the best routing: the convex solver finds no shares for it."""
        assert self.best is not None
        self._refused.add(self.best.at.tobytes())
        self._routing.forbid(self.used)
        self.best = None
        self.certain &= proven

    def offer(self, served: FloatArray) -> None:
        """Improve the routing that is nearest to y, and cut at its prices."""
        pairs = self.instance.pairs
        table = np.full((len(self.instance.weight), len(self.instance.problem.clusters)), -1.0)
        table[pairs.group, pairs.cluster] = served
        self.start_from(table.argmax(axis=1))

    def start_from(self, at: IntArray) -> None:
        """Improve a routing, ``[G]`` clusters, and cut at its prices."""
        choice = self._climb.choice(at)
        self._routing.cut(choice.price)
        choice = self._climb.improve(choice)
        self._routing.cut(choice.price)
        allowed = choice.feasible and self._climb.fits(choice.at)
        if not allowed or choice.at.tobytes() in self._refused:
            return
        if self.best is None or choice.total > self.best.total:
            self.best = choice

    def _relax(self) -> FloatArray:
        """y of the relaxation, once its bound is met; empty if there is none.

        Cuts are taken half-way between the program's routing and where the last one was taken
        (Ben-Ameur and Neto's in-out method), which saves most of Kelley's rounds.
        """
        center: FloatArray | None = None
        price: FloatArray | None = None
        for _ in range(MOST_RELAXATIONS):
            point = self._routing.relax()
            self._lower(point.bound)
            if self.bound == -math.inf or not point.found:
                break
            center = point.served if center is None else 0.5 * (center + point.served)
            reached, price = self._value(center, price)
            self._routing.cut(price)
            if relative_gap(reached, self.bound) <= MET:
                break
        return np.zeros(len(self.instance.pairs)) if center is None else center

    def _value(self, served: FloatArray, start: FloatArray | None) -> tuple[float, FloatArray]:
        used = np.flatnonzero(served > SERVED)
        pairs = self.instance.pairs
        batch = Batch(
            cluster=np.arange(len(self.instance.problem.clusters)),
            row=pairs.cluster[used],
            pair=used,
            part=served[used],
        )
        found = self.values.value(batch, start)
        return float(found.value.sum()), found.price

    def _branch(self, allowed: Allowed, nodes: int) -> None:
        """Relax, choose pairs, branch and bound among them, and improve what it finds."""
        point = self._routing.relax()
        self._lower(point.bound)
        if self.closed or not point.found:
            return
        mask, floor = allowed(point)
        self._routing.allow(mask)
        limit = min(nodes, self.instance.problem.node_limit)
        found = self._routing.solve(min(0.25 * self.target, 1.0), limit)
        self._routing.allow(np.ones(len(mask), dtype=bool))
        self.nodes += found.nodes
        self._lower(max(found.bound, floor))
        if found.found:
            self.offer(found.served)

    def _narrow(self, point: RoutingPoint) -> tuple[BoolArray, float]:
        """The likeliest pairs, each group's best among them; unless they are all, they prove
        nothing."""
        pairs, count = self.instance.pairs, len(point.loss)
        order = np.argsort(point.loss, kind="stable")
        mask = np.zeros(count, dtype=bool)
        mask[order[: NARROW * len(self.instance.weight)]] = True
        _, first = np.unique(pairs.group[order], return_index=True)
        mask[order[first]] = True
        return mask, -math.inf if mask.all() else math.inf

    def _useful(self, point: RoutingPoint) -> tuple[BoolArray, float]:
        """Pairs that a routing may have that is better than the best by more than half the target
        gap; all others are below that."""
        if self.best is None:
            return np.ones(len(point.loss), dtype=bool), -math.inf
        floor = self.best.total + 0.5 * self.target * abs(self.best.total)
        return point.bound - point.loss > floor, floor

    def _lower(self, bound: float) -> None:
        if self.certain:
            self.bound = min(self.bound, bound)
            if self.best is None and self.bound < self._lowest:
                self.bound = -math.inf


def find_any(search: SingleSearch) -> None:
    """A routing that keeps all SLOs, if fine-tuning and delays cost nothing; or proof of none."""
    easier = keep_slos(search.instance)
    search.nodes += easier.nodes
    if easier.best is not None:
        search.start_from(easier.best.at)
    elif easier.closed and search.certain:
        search.bound = -math.inf


def keep_slos(instance: Instance) -> SingleSearch:
    """The search for any routing that keeps all SLOs."""
    bare = replace(instance, tuning=(), weight=np.zeros_like(instance.weight))
    search = SingleSearch(instance=bare, target=math.inf)
    search.run(wide=True)
    return search


def _most_delay(instance: Instance) -> float:
    """What delays cost at most where all SLOs hold; infinite where a group has none."""
    pairs, needed = instance.pairs, np.isfinite(instance.pairs.speed)
    with np.errstate(divide="ignore"):
        queue = pairs.near / pairs.margin + pairs.far / (pairs.margin + pairs.arrivals)
    longest = np.minimum(pairs.limit, queue * needed.sum(axis=1))
    worst = np.zeros(len(instance.weight))
    np.maximum.at(worst, pairs.group, longest)
    weighed = instance.weight > 0.0
    return float((instance.weight[weighed] * worst[weighed]).sum())
