"""Latencies of services that share devices and links: mean and percentiles."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from gaisnet.planner.routing.options import Option, Resource

__all__ = ["Loads"]


class Loads:
    """Utilisation and waiting of every resource under a set of routed services.

    Each resource is an M/G/1 queue: Poisson arrivals, requests of fixed length per service (one
    service alone makes it M/D/1). Requests that visit a resource several times count as one job
    there, of the summed length.
    """

    def __init__(self, routed: Iterable[Option]) -> None:
        self._busy: defaultdict[Resource, float] = defaultdict(float)
        self._second: defaultdict[Resource, float] = defaultdict(float)
        for option in routed:
            rate = option.service.rate_per_s
            for resource, seconds in option.demand_s.items():
                self._busy[resource] += rate * seconds
                self._second[resource] += rate * seconds**2

    def utilisation(self, resource: Resource) -> float:
        """Part of the time that it is busy, within its share."""
        return self._busy[resource]

    @property
    def stable(self) -> bool:
        """Whether no queue grows without end."""
        return all(busy < 1.0 for busy in self._busy.values())

    def busiest(self, option: Option) -> tuple[Resource, float]:
        """The resource on a service's way that is used most, and how much."""
        resource = max(option.demand_s, key=lambda r: self._busy[r])
        return resource, self._busy[resource]

    def wait_s(self, resource: Resource) -> float:
        """Pollaczek and Khinchine's mean wait ``λ E[S²] / (2 (1 - ρ))``; inf if unstable."""
        if self._busy[resource] >= 1.0:
            return math.inf
        return self._second[resource] / (2.0 * (1.0 - self._busy[resource]))

    def mean_s(self, option: Option) -> float:
        """Mean latency: all service, and the mean wait at each resource."""
        return option.idle_s + sum(self.wait_s(r) for r, s in option.demand_s.items() if s > 0.0)

    def percentile_s(self, option: Option, percentile: float) -> float:
        """A latency that ``percentile`` % of the requests stay below, an upper estimate.

        With n resources on the way each wait may exceed its own bound with probability ``ε / n``,
        so that by the union bound their sum does with at most ``ε = 1 - percentile / 100``. A
        wait's tail is taken as ``P(W > t) = ρ exp(-ρ t / E[W])``, which is exact for M/M/1 (the
        tail SLO ``μ - λ ≥ θ``) and has the Pollaczek–Khinchine mean for other service times.
        """
        epsilon = 1.0 - percentile / 100.0
        visited = [resource for resource, seconds in option.demand_s.items() if seconds > 0.0]
        return option.idle_s + sum(self._tail_s(r, epsilon / len(visited)) for r in visited)

    def _tail_s(self, resource: Resource, epsilon: float) -> float:
        busy = self._busy[resource]
        if busy <= epsilon:
            return 0.0
        return self.wait_s(resource) / busy * math.log(busy / epsilon)

    def latency_s(self, option: Option) -> float:
        """What the service's SLO is about: its percentile, or the mean."""
        percentile = option.service.slo_percentile
        return self.mean_s(option) if percentile is None else self.percentile_s(option, percentile)

    def meets_slo(self, option: Option) -> bool:
        """Whether the service's SLO holds (it does if there is none)."""
        slo = option.service.slo_s
        return slo is None or self.latency_s(option) <= slo * (1.0 + 1e-12)
