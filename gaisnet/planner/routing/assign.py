"""Which option each service takes: branch and bound over all assignments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from gaisnet.planner.routing.options import Option
from gaisnet.planner.routing.queueing import Loads

__all__ = ["Assignment", "assign", "total_latency"]


@dataclass(kw_only=True)
class Assignment:
    """The best found, and what is proven about it."""

    options: tuple[Option, ...] | None = None
    """One per service; None if none is allowed."""
    value: float = math.inf
    """``Σ rate · mean latency``: requests that are under way at once."""
    bound: float = math.inf
    nodes: int = 0
    complete: bool = True


@dataclass(kw_only=True)
class _Search:
    choices: Sequence[Sequence[Option]]
    node_limit: int
    slo: bool
    best: Assignment = field(default_factory=Assignment)

    def descend(self, routed: tuple[Option, ...]) -> None:
        """Routes the next service; more load never shortens a latency, so bounds are safe."""
        if self.best.nodes >= self.node_limit:
            self.best.complete = False
            return
        self.best.nodes += 1
        loads = Loads(routed)
        if not loads.stable or (self.slo and not all(map(loads.meets_slo, routed))):
            return
        rest = self.choices[len(routed) :]
        value = total_latency(loads, routed) + sum(_least(options) for options in rest)
        if value >= self.best.value * (1.0 - 1e-12):
            return
        if not rest:
            self.best.options, self.best.value = routed, value
            return
        for option in rest[0]:
            self.descend((*routed, option))


def assign(choices: Sequence[Sequence[Option]], node_limit: int, *, slo: bool = True) -> Assignment:
    """Route every service to one of its options so that ``Σ rate · mean latency`` is least.

    Args:
        choices: Options of each service; none may be empty.
        node_limit: Partial assignments to look at. Beyond, the bound is that of idle resources.
        slo: Whether SLOs must hold. Every resource must be stable in any case.
    """
    order = sorted(range(len(choices)), key=lambda s: (len(choices[s]), -_least(choices[s]), s))
    search = _Search(choices=[choices[s] for s in order], node_limit=node_limit, slo=slo)
    search.descend(())
    best = search.best
    best.bound = best.value if best.complete else sum(map(_least, choices))
    if best.options is not None:
        back = {s: option for s, option in zip(order, best.options, strict=True)}
        best.options = tuple(back[s] for s in range(len(choices)))
    return best


def total_latency(loads: Loads, routed: Sequence[Option]) -> float:
    """``Σ rate · mean latency``."""
    return sum(option.service.rate_per_s * loads.mean_s(option) for option in routed)


def _least(options: Sequence[Option]) -> float:
    return min(option.service.rate_per_s * option.idle_s for option in options)
