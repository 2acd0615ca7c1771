"""What is shared between fine-tuning and services, and what an answer is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf, isinf

from gaisnet.planner.sharing.seconds import Length, Resource
from gaisnet.planner.sharing.ways import Way, latency_s
from gaisnet.schema.job import Service

__all__ = ["ServiceShares", "Sharing", "SharingProblem"]

ServiceShares = tuple[Mapping[Resource, float], ...]
"""Of each service, on the resources of its way."""


@dataclass(frozen=True, kw_only=True)
class SharingProblem:
    """Shares of devices' compute and links, and a way for each service.

    Minimises ``T / T0 + Σ_s w_s D_s / D0_s``: the length of a round, relative to one without
    services, and the weighted mean latencies, relative to those on the idle fleet; such that the
    shares of each resource add up to at most 1 and all SLOs hold.
    """

    rounds: tuple[Length, ...]
    """The longest of them is a round."""
    ways: tuple[tuple[Way, ...], ...]
    """Of each service, at least one."""

    @property
    def services(self) -> tuple[Service, ...]:
        """In the job's order."""
        return tuple(ways[0].option.service for ways in self.ways)

    @cached_property
    def full_round_s(self) -> float:
        """T0: a round of fine-tuning alone; 1 if a round takes no time."""
        return self.round_s({}) or 1.0

    @cached_property
    def idle_s(self) -> tuple[float, ...]:
        """D0 of each service: by its fastest way."""
        return tuple(min(way.idle_s for way in ways) or 1.0 for ways in self.ways)

    def round_s(self, tuning: Mapping[Resource, float]) -> float:
        """T at fine-tuning's shares."""
        return max((length.at(tuning) for length in self.rounds), default=0.0)

    def tuned(self) -> set[Resource]:
        """Resources that fine-tuning needs."""
        return {resource for length in self.rounds for resource in length.resources()}

    def limit_s(self, s: int) -> float:
        """A service's SLO."""
        slo_s = self.services[s].slo_s
        return inf if slo_s is None else slo_s

    def value(self, found: Sharing) -> float:
        """The objective; inf if an SLO does not hold."""
        total = self.round_s(found.tuning) / self.full_round_s
        for s, (way, shares) in enumerate(zip(found.ways, found.shares, strict=True)):
            if late_s(way, shares) > self.limit_s(s):
                return inf
            mean_s = latency_s(way, shares)
            if isinf(mean_s):
                return inf
            total += self.services[s].delay_weight * mean_s / self.idle_s[s]
        return total


@dataclass(frozen=True, kw_only=True)
class Sharing:
    """Who is answered how, and who has which shares."""

    ways: tuple[Way, ...]
    shares: ServiceShares
    tuning: Mapping[Resource, float]
    """Fine-tuning's, on the resources that it needs."""
    price: Mapping[Resource, float]
    """Objective that one more of the whole resource would save, with the ways as they are."""


def late_s(way: Way, shares: Mapping[Resource, float]) -> float:
    """The latency that the service's SLO is about."""
    return latency_s(way, shares, way.option.service.slo_percentile)
