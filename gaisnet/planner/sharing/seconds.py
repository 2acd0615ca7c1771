"""Times that depend on shares: ``fixed + Σ needed_r / share_r`` over devices and their links.

A share stretches what a device computes, and what it sends; the latency of a link stays. So times
of a chain are linear in inverse shares, and convex in shares; so are maxima of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from gaisnet.planner.cost import CostModel

__all__ = ["NOTHING", "Length", "Paces", "Resource", "Seconds", "computed", "total"]

Resource = tuple[Literal["compute", "link"], str]
"""A device's compute, or all links that it sends on."""


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """``fixed + Σ needed_r / share_r``."""

    fixed: float = 0.0
    needed: Mapping[Resource, float] = field(default_factory=dict)
    """Seconds with all of a resource."""

    def scaled(self, factor: float) -> Seconds:
        """``factor`` times as long."""
        needed = {resource: factor * seconds for resource, seconds in self.needed.items()}
        return Seconds(fixed=factor * self.fixed, needed=needed)

    def at(self, shares: Mapping[Resource, float]) -> float:
        """Seconds where resources that ``shares`` does not name are had whole; inf where one is
        needed and there is nothing of it."""
        needed = [(s, shares.get(r, 1.0)) for r, s in self.needed.items() if s > 0.0]
        return self.fixed + sum(s / share if share > 0.0 else inf for s, share in needed)


NOTHING = Seconds()


def total(parts: Iterable[Seconds]) -> Seconds:
    """One after the other."""
    fixed, needed = 0.0, dict[Resource, float]()
    for part in parts:
        fixed += part.fixed
        for resource, seconds in part.needed.items():
            needed[resource] = needed.get(resource, 0.0) + seconds
    return Seconds(fixed=fixed, needed=needed)


@dataclass(frozen=True, kw_only=True)
class Length:
    """A sum of times, and of weighted maxima of times that go on beside one another."""

    plain: Seconds = NOTHING
    longest: tuple[tuple[float, tuple[Seconds, ...]], ...] = ()
    """Weight and candidates of each maximum."""

    def at(self, shares: Mapping[Resource, float]) -> float:
        """Seconds at these shares."""
        maxima = (w * max(s.at(shares) for s in parts) for w, parts in self.longest)
        return self.plain.at(shares) + sum(maxima)

    def resources(self) -> set[Resource]:
        """All that it needs."""
        parts = [self.plain, *(part for _, parts in self.longest for part in parts)]
        return {r for part in parts for r, seconds in part.needed.items() if seconds > 0.0}


def computed(device: str, seconds: float) -> Seconds:
    """Work on a device."""
    return Seconds(needed={("compute", device): seconds})


class Paces:
    """A cost model with all that may be shared and with half of it, to tell bytes from latency."""

    def __init__(self, cost: CostModel) -> None:
        self.full = cost
        self.half = cost.at_share(cost.share / 2.0)

    def sent(self, sender: str, seconds_of: Callable[[CostModel], float]) -> Seconds:
        """What ``seconds_of`` says of a transfer: linear in the inverse share of its sender."""
        full_s = seconds_of(self.full)
        bytes_s = seconds_of(self.half) - full_s
        return Seconds(fixed=max(0.0, full_s - bytes_s), needed={("link", sender): bytes_s})
