"""Ways to answer a service, as queues whose speed is a matter of shares."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gaisnet.planner.routing.options import Option, visits_of
from gaisnet.planner.sharing.curves import Curve, service, tail, wait
from gaisnet.planner.sharing.seconds import Paces, Resource
from gaisnet.schema.plan import ClusterPlan

__all__ = ["ENDLESS_S", "Visit", "Way", "latency_s", "way_of"]


NOTHING_S = 1e-12
"""A shorter stay is as long in any share: nobody waits for it."""
ENDLESS_S = 1e12
"""Answers that take as long are none: their curves would leave the range of numbers."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """A device's compute, or all links that it sends on, on the way of a request."""

    resource: Resource
    seconds: float
    """Of one request with all of the resource, over all times that it comes by."""
    times: int
    burst: float
    """``times · Σ s² / (Σ s)²`` over the lengths s of its stays: 1 if it comes by once. Each
    time it waits for what others left, which is in proportion to the sum of squares."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """An option with its queues.

    In queues in tandem with constant services a request waits in all as long as it would at the
    slowest alone (Friedman 1965), so that of the queues that it passes once the longest wait
    counts; waits of others are added.
    """

    option: Option
    fixed_s: float
    """Latencies of links, which no share changes."""
    visits: tuple[Visit, ...]

    def waits(self) -> list[list[int]]:
        """Visits by the waits that add up: of each list only the longest counts."""
        once = [v for v, visit in enumerate(self.visits) if visit.times == 1]
        several = [[v] for v, visit in enumerate(self.visits) if visit.times > 1]
        return [once, *several] if once else several

    @property
    def idle_s(self) -> float:
        """Latency with all of every resource, and nobody else."""
        return self.fixed_s + sum(visit.seconds for visit in self.visits)

    def curves(self, v: int) -> list[Curve]:
        """Service, mean wait, and the wait's part in the SLO's percentile, if it is about one."""
        asked, visit = self.option.service, self.visits[v]
        found = [service(), wait(asked.rate_per_s, visit.burst)]
        if asked.slo_percentile is not None:
            found.append(self.tail(v, asked.slo_percentile))
        return found

    def tail(self, v: int, percentile: float) -> Curve:
        """Its part in a percentile; waits that add up may each be late with a part of ε."""
        epsilon = (1.0 - percentile / 100.0) / len(self.waits())
        return tail(self.option.service.rate_per_s, self.visits[v].burst, epsilon)


def way_of(paces: Paces, clusters: Mapping[str, ClusterPlan], option: Option) -> Way:
    """``option``, made with the full pace, as queues; ``clusters`` are the plan's, by id."""
    cluster = clusters[option.cluster]
    stays: defaultdict[Resource, list[float]] = defaultdict(list)
    fixed_s = 0.0
    both = zip(
        *(visits_of(c, cluster, option.entry, option.service) for c in (paces.full, paces.half)),
        strict=True,
    )
    for (resource, seconds), (_, halved_s) in both:
        shared_s = halved_s - seconds
        fixed_s += max(0.0, seconds - shared_s)
        if shared_s <= NOTHING_S:
            fixed_s += max(0.0, shared_s)
        else:
            key: Resource = (
                ("compute", resource) if isinstance(resource, str) else ("link", resource[0])
            )
            stays[key].append(shared_s)
    visits = [_visit(resource, lengths) for resource, lengths in sorted(stays.items())]
    return Way(option=option, fixed_s=fixed_s, visits=tuple(visits))


def _visit(resource: Resource, lengths: Sequence[float]) -> Visit:
    seconds = sum(lengths)
    parts = [length / seconds for length in lengths]
    return Visit(
        resource=resource,
        seconds=seconds,
        times=len(lengths),
        burst=len(lengths) * sum(part**2 for part in parts),
    )


def latency_s(way: Way, shares: Mapping[Resource, float], percentile: float | None = None) -> float:
    """Mean latency at these shares, or the one that ``percentile`` % stay below; inf if unstable.

    A resource without a share is had whole.
    """
    speeds = [shares.get(visit.resource, 1.0) / visit.seconds for visit in way.visits]
    if any(speed <= way.option.service.rate_per_s for speed in speeds):
        return math.inf
    waits = []
    for v, speed in enumerate(speeds):
        curve = way.curves(v)[1] if percentile is None else way.tail(v, percentile)
        waits.append(curve.value(speed))
    served = sum(1.0 / speed for speed in speeds)
    return way.fixed_s + served + sum(max(waits[v] for v in part) for part in way.waits())
