"""Routes services to clusters, divides shares between them, and predicts their latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gaisnet.planner.cost import Residence
from gaisnet.planner.roster import Roster
from gaisnet.planner.routing.assign import Assignment, assign
from gaisnet.planner.routing.options import Option
from gaisnet.planner.routing.queueing import Loads
from gaisnet.planner.routing.refuse import too_slow
from gaisnet.planner.routing.room import Held, fitting, housed, options_for
from gaisnet.planner.routing.shares import divide_shares
from gaisnet.schema.plan import (
    Certificate,
    ClusterPlan,
    ResourcePrice,
    Route,
    ServicePrediction,
    Share,
)

__all__ = ["Routing", "route_services"]

NODE_LIMIT = 20_000
"""Of partial assignments: what branch and bound looks at in a few seconds."""


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Who answers which service, and how fast."""

    routes: tuple[Route, ...] = ()
    shares: tuple[Share, ...] = ()
    services: tuple[ServicePrediction, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    entries: Mapping[str, tuple[Residence, ...]]
    """Heads and tails that devices hold only to answer, by device."""
    cache_bytes: Mapping[str, int]
    """KV caches by device."""
    prices: tuple[ResourcePrice, ...] = ()
    """What more of a resource would buy, where shares are the plan's."""


def route_services(
    roster: Roster, clusters: Sequence[ClusterPlan], held: Held, share: float
) -> Routing:
    """Route every service of the job, exactly, in a given share of all devices and links.

    Every assignment of services to clusters and entry devices is considered (branch and bound).

    Args:
        roster: Fleet and job.
        clusters: The plan's.
        held: What every device holds for fine-tuning.
        share: Of compute and links, for all services together.

    Raises:
        InfeasibleError: A service has no cluster, no memory or no capacity, or its SLO cannot be
            met; the message names it, and the loosest SLO that would do.
    """
    services = roster.job.services
    inference = roster.cost.at_share(share)
    by_id = {cluster.id: cluster for cluster in clusters}
    choices = [
        fitting(roster, by_id, held, options_for(roster, clusters, service, inference))
        for service in services
    ]
    limit = min(NODE_LIMIT, roster.job.search.node_limit)
    found = assign(choices, limit)
    if found.options is None:
        raise too_slow(choices, limit)
    return _routing(roster, by_id, held, found, found.options, share)


def _routing(
    roster: Roster,
    clusters: Mapping[str, ClusterPlan],
    held: Held,
    found: Assignment,
    options: Sequence[Option],
    share: float,
) -> Routing:
    loads = Loads(options)
    latency_s = {option: loads.mean_s(option) for option in options}
    entries, caches = housed(roster, clusters, held, options, latency_s)
    return Routing(
        routes=tuple(
            Route(service=o.service.id, cluster=o.cluster, entry=o.entry) for o in options
        ),
        shares=divide_shares(share, held, options),
        services=tuple(_prediction(loads, option) for option in options),
        certificates=(_certificate(found),),
        entries=entries,
        cache_bytes=caches,
    )


def _prediction(loads: Loads, option: Option) -> ServicePrediction:
    _, busiest = loads.busiest(option)
    return ServicePrediction(
        service=option.service.id,
        service_s=option.idle_s,
        mean_s=loads.mean_s(option),
        p95_s=loads.percentile_s(option, 95.0),
        utilisation=busiest,
        throughput_per_s=option.service.rate_per_s / busiest if busiest > 0.0 else 0.0,
        meets_slo=loads.meets_slo(option),
    )


def _certificate(found: Assignment) -> Certificate:
    gap = (found.value - found.bound) / found.value if found.value > 0.0 else 0.0
    return Certificate(
        decision="routing of services",
        objective="requests under way: rate × mean latency, summed",
        solver="branch and bound over all assignments",
        status="optimal" if found.complete else "feasible",
        value=found.value,
        bound=found.bound,
        gap=max(0.0, gap),
        work=found.nodes,
    )
