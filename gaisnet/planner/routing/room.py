"""Memory that services take on devices: heads and tails of entries, and KV caches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

from gaisnet.planner.cost import CostModel, Residence
from gaisnet.planner.roster import Roster
from gaisnet.planner.routing.options import Option, options_of, stages_of
from gaisnet.planner.routing.refuse import no_cluster, no_room
from gaisnet.schema.job import Service
from gaisnet.schema.plan import ClusterPlan

__all__ = ["Held", "fitting", "housed", "options_for"]

Held = Mapping[str, Sequence[Residence]]
"""What every device holds for fine-tuning."""


def options_for(
    roster: Roster, clusters: Sequence[ClusterPlan], service: Service, inference: CostModel
) -> list[Option]:
    """``options_of``, of which there must be one.

    Raises:
        InfeasibleError: There is none.
    """
    options = options_of(roster, clusters, service, inference)
    if not options:
        raise no_cluster(roster, clusters, service)
    return options


def fitting(
    roster: Roster, clusters: Mapping[str, ClusterPlan], held: Held, options: Sequence[Option]
) -> list[Option]:
    """The options whose devices have the memory for head, tail and caches of this service.

    Raises:
        InfeasibleError: No device has it.
    """
    missing = {}
    fitting = []
    for option in options:
        entries, caches = _extra(roster, clusters, held, [option], {option: option.idle_s})
        over = _overflow(roster, held, entries, caches)
        if over:
            missing[option] = over
        else:
            fitting.append(option)
    if not fitting:
        raise no_room(missing)
    return fitting


def housed(
    roster: Roster,
    clusters: Mapping[str, ClusterPlan],
    held: Held,
    options: Sequence[Option],
    latency_s: Mapping[Option, float],
) -> tuple[dict[str, tuple[Residence, ...]], dict[str, int]]:
    """Heads and tails of entries, and caches, by device, where all of them have the memory.

    Raises:
        InfeasibleError: One has not.
    """
    entries, caches = _extra(roster, clusters, held, options, latency_s)
    over = _overflow(roster, held, entries, caches)
    if over:
        raise no_room(dict.fromkeys(options, over))
    return entries, caches


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
