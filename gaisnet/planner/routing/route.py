"""Routes services to clusters, divides shares between them, and predicts their latencies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gaisnet.planner.cost import CostModel, Residence
from gaisnet.planner.roster import Roster
from gaisnet.planner.routing.assign import Assignment, assign
from gaisnet.planner.routing.options import Option, options_of, stages_of
from gaisnet.planner.routing.queueing import Loads
from gaisnet.planner.routing.refuse import no_cluster, no_room, too_slow
from gaisnet.planner.routing.shares import divide_shares
from gaisnet.schema.job import Service
from gaisnet.schema.plan import Certificate, ClusterPlan, Route, ServicePrediction, Share

__all__ = ["Routing", "route_services"]

NODE_LIMIT = 20_000
"""Of partial assignments: what branch and bound looks at in a few seconds."""

Held = Mapping[str, Sequence[Residence]]


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


def route_services(roster: Roster, clusters: Sequence[ClusterPlan], held: Held) -> Routing:
    """Route every service of the job, exactly.

    Every assignment of services to clusters and entry devices is considered (branch and bound).

    Args:
        roster: Fleet and job.
        clusters: The plan's.
        held: What every device holds for fine-tuning.

    Raises:
        InfeasibleError: A service has no cluster, no memory or no capacity, or its SLO cannot be
            met; the message names it, and the loosest SLO that would do.
    """
    services = roster.job.services
    if not services:
        return Routing(entries={}, cache_bytes={})
    kept = 1.0 - roster.job.constraints.time_slack
    inference = roster.cost.at_share(roster.job.inference_share * kept)
    by_id = {cluster.id: cluster for cluster in clusters}
    choices = [
        _with_room(roster, by_id, held, _options(roster, clusters, service, inference))
        for service in services
    ]
    limit = min(NODE_LIMIT, roster.job.search.node_limit)
    found = assign(choices, limit)
    if found.options is None:
        raise too_slow(choices, limit)
    return _routing(roster, by_id, held, found, found.options)


def _options(
    roster: Roster, clusters: Sequence[ClusterPlan], service: Service, inference: CostModel
) -> list[Option]:
    options = options_of(roster, clusters, service, inference)
    if not options:
        raise no_cluster(roster, clusters, service)
    return options


def _with_room(
    roster: Roster, clusters: Mapping[str, ClusterPlan], held: Held, options: Sequence[Option]
) -> list[Option]:
    """The options whose devices have the memory for head, tail and caches of this service."""
    missing = {}
    fitting = []
    for option in options:
        extra, caches = _extra(roster, clusters, held, [option], {option: option.idle_s})
        over = _overflow(roster, held, extra, caches)
        if over:
            missing[option] = over
        else:
            fitting.append(option)
    if not fitting:
        raise no_room(missing)
    return fitting


def _extra(
    roster: Roster,
    clusters: Mapping[str, ClusterPlan],
    held: Held,
    options: Sequence[Option],
    latency_s: Mapping[Option, float],
) -> tuple[dict[str, tuple[Residence, ...]], dict[str, int]]:
    """Heads and tails of entries that own no data of the cluster, and caches, by device."""
    cost = roster.cost
    entries: defaultdict[str, set[Residence]] = defaultdict(set)
    caches: defaultdict[str, int] = defaultdict(int)
    for option in options:
        service, cluster = option.service, clusters[option.cluster]
        stages = stages_of(cluster, option.entry, cost.n_units)
        if option.entry not in {owner.device for owner in cluster.owners}:
            ends = [stage for stage in stages if stage not in cluster.body]
            entries[option.entry] |= {_answering(end.first_unit, end.last_unit) for end in ends}
        if service.output_tokens:
            sessions = max(1, math.ceil(service.rate_per_s * latency_s[option]))
            tokens = (service.prompt_tokens or cost.model.tokens) + service.output_tokens
            for stage in stages:
                span = stage.first_unit, stage.last_unit
                caches[stage.device] += cost.cache_bytes(*span, sessions, tokens)
    ordered = {
        device: tuple(sorted(ends, key=lambda r: r.first_unit)) for device, ends in entries.items()
    }
    return ordered, dict(caches)


def _answering(first_unit: int, last_unit: int) -> Residence:
    return Residence(
        first_unit=first_unit,
        last_unit=last_unit,
        samples_in_flight=0,
        microbatch_size=1,
        training=False,
    )


def _overflow(
    roster: Roster,
    held: Held,
    entries: Mapping[str, Sequence[Residence]],
    caches: Mapping[str, int],
) -> dict[str, int]:
    """Missing bytes of each device that services overload."""
    over = {}
    for device in sorted({*entries, *caches}):
        all_held = [*held.get(device, ()), *entries.get(device, ())]
        need = roster.cost.memory(all_held, caches.get(device, 0)).total_bytes
        limit = roster.cost.devices[device].limit_bytes
        if need > limit:
            over[device] = need - limit
    return over


def _routing(
    roster: Roster,
    clusters: Mapping[str, ClusterPlan],
    held: Held,
    found: Assignment,
    options: Sequence[Option],
) -> Routing:
    loads = Loads(options)
    latency_s = {option: loads.mean_s(option) for option in options}
    entries, caches = _extra(roster, clusters, held, options, latency_s)
    over = _overflow(roster, held, entries, caches)
    if over:
        raise no_room(dict.fromkeys(options, over))
    return Routing(
        routes=tuple(
            Route(service=o.service.id, cluster=o.cluster, entry=o.entry) for o in options
        ),
        shares=divide_shares(roster, held, options),
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
