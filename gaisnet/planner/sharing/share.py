"""Shares for fine-tuning and each service, and who answers whom: decided together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from gaisnet.errors import InfeasibleError
from gaisnet.planner.roster import Roster
from gaisnet.planner.routing.options import Option
from gaisnet.planner.routing.room import Held, fitting, housed, options_for
from gaisnet.planner.routing.route import Routing
from gaisnet.planner.routing.shares import FINE_TUNING
from gaisnet.planner.sharing.problem import Sharing, SharingProblem
from gaisnet.planner.sharing.refuse import refusal
from gaisnet.planner.sharing.rounds import round_lengths
from gaisnet.planner.sharing.search import GAP, Found, solve_sharing
from gaisnet.planner.sharing.seconds import Paces, Resource
from gaisnet.planner.sharing.ways import ENDLESS_S, Way, latency_s, way_of
from gaisnet.schema.plan import (
    Certificate,
    ClusterPlan,
    ResourcePrice,
    Route,
    ServicePrediction,
    Share,
)

__all__ = ["share_services"]


def share_services(
    roster: Roster, clusters: Sequence[ClusterPlan], cloud: str, held: Held
) -> Routing:
    """Divide every device and its links between fine-tuning and services, and route these.

    Args:
        roster: Fleet and job.
        clusters: The plan's.
        cloud: Who averages over the edges.
        held: What every device holds for fine-tuning.

    Raises:
        InfeasibleError: A service has no cluster, no memory or no capacity, or SLOs cannot be met;
            the message names the service, and the loosest SLO that would do.
    """
    paces = Paces(roster.cost)
    by_id = {cluster.id: cluster for cluster in clusters}
    options = [
        fitting(roster, by_id, held, options_for(roster, clusters, service, paces.full))
        for service in roster.job.services
    ]
    problem = SharingProblem(
        rounds=round_lengths(paces, clusters, cloud, roster.job.fine_tuning),
        ways=tuple(_ways(paces, by_id, mine) for mine in options),
    )
    found = solve_sharing(problem, roster.job.search.node_limit)
    if found.sharing is None:
        raise refusal(problem)
    return _routing(roster, by_id, held, problem, found, found.sharing)


def _ways(
    paces: Paces, clusters: Mapping[str, ClusterPlan], options: Sequence[Option]
) -> tuple[Way, ...]:
    """Those on which an answer takes any time that matters."""
    found = [way_of(paces, clusters, option) for option in options]
    usable = tuple(way for way in found if way.idle_s < ENDLESS_S)
    if not usable:
        raise InfeasibleError(
            f"an answer would take more than {ENDLESS_S:g} s on every way",
            where=f"services.{options[0].service.id}",
            hint="look for speeds, bandwidths or latencies that cannot be meant",
        )
    return usable


def _routing(
    roster: Roster,
    clusters: Mapping[str, ClusterPlan],
    held: Held,
    problem: SharingProblem,
    found: Found,
    sharing: Sharing,
) -> Routing:
    options = [way.option for way in sharing.ways]
    pairs = list(zip(sharing.ways, sharing.shares, strict=True))
    latency = {way.option: latency_s(way, shares) for way, shares in pairs}
    entries, caches = housed(roster, clusters, held, options, latency)
    return Routing(
        routes=tuple(
            Route(service=o.service.id, cluster=o.cluster, entry=o.entry) for o in options
        ),
        shares=_shares({*held, *entries}, sharing),
        services=tuple(_prediction(way, shares) for way, shares in pairs),
        certificates=(_certificate(found),),
        entries=entries,
        cache_bytes=caches,
        prices=_prices(problem, sharing),
    )


def _shares(holders: set[str], sharing: Sharing) -> tuple[Share, ...]:
    """Fine-tuning's share of a device that does nothing for it is what services leave."""
    used: defaultdict[Resource, float] = defaultdict(float)
    by_device: defaultdict[str, list[Share]] = defaultdict(list)
    for way, mine in sorted(
        zip(sharing.ways, sharing.shares, strict=True), key=lambda pair: pair[0].option.service.id
    ):
        for resource, share in mine.items():
            used[resource] += share
        for device in sorted({device for _, device in mine}):
            compute, link = mine.get(("compute", device), 0.0), mine.get(("link", device), 0.0)
            row = Share(device=device, user=way.option.service.id, compute=compute, link=link)
            by_device[device].append(row)
    rows = []
    for device in sorted({*holders, *by_device}):
        left = [max(0.0, 1.0 - used[kind, device]) for kind in ("compute", "link")]
        rows.append(Share(device=device, user=FINE_TUNING, compute=left[0], link=left[1]))
        rows += by_device[device]
    return tuple(rows)


def _prediction(way: Way, shares: Mapping[Resource, float]) -> ServicePrediction:
    rate = way.option.service.rate_per_s
    busy = max((rate * v.seconds / shares[v.resource] for v in way.visits), default=0.0)
    served = sum(v.seconds / shares[v.resource] for v in way.visits)
    slo_s, late = way.option.service.slo_s, way.option.service.slo_percentile
    return ServicePrediction(
        service=way.option.service.id,
        service_s=way.fixed_s + served,
        mean_s=latency_s(way, shares),
        p95_s=latency_s(way, shares, 95.0),
        utilisation=busy,
        throughput_per_s=rate / busy if busy > 0.0 else 0.0,
        meets_slo=slo_s is None or latency_s(way, shares, late) <= slo_s,
    )


def _certificate(found: Found) -> Certificate:
    return Certificate(
        decision="shares of fine-tuning and services, and their routing",
        objective="round without overlap of turns + delay weights × mean latencies, each relative "
        "to idle devices",
        solver="outer approximation with perspective cuts (HiGHS)",
        status="optimal" if found.gap <= 2.0 * GAP else "feasible",
        value=found.value,
        bound=found.bound,
        gap=found.gap,
        work=found.nodes,
    )


def _prices(problem: SharingProblem, sharing: Sharing) -> tuple[ResourcePrice, ...]:
    percent_s = 0.01 * problem.full_round_s
    return tuple(
        ResourcePrice(device=device, resource=kind, round_s_per_percent=price * percent_s)
        for (kind, device), price in sorted(sharing.price.items(), key=lambda pair: pair[0][::-1])
        if price > 0.0
    )
