"""What a plan runs into, read off its predictions."""

from __future__ import annotations

from collections import defaultdict

from gaisnet.planner.chains.hops import stage_hop
from gaisnet.planner.chains.step import Chain, owner_hops, step_figures
from gaisnet.planner.cost import CostModel
from gaisnet.planner.predict import chain_of
from gaisnet.planner.roster import Roster
from gaisnet.schema.explanation import Binding
from gaisnet.schema.plan import Plan

__all__ = ["bindings"]

TIGHT = 0.9
"""Part of a memory or latency limit from which on it is told."""
LARGE = 0.1
"""Part of the slowest cluster's step from which on a device or link is told."""


def bindings(plan: Plan, roster: Roster) -> tuple[Binding, ...]:
    """Memories and latency objectives nearly used up, and what the slowest cluster's step goes to;
    the tightest first."""
    found = [*_memories(plan), *_latencies(plan, roster), *_times(plan, roster)]
    return tuple(sorted(found, key=lambda each: (-_share(each), each.kind, each.where)))


def _share(binding: Binding) -> float:
    return (binding.used or 0.0) / binding.limit if binding.limit else 0.0


def _memories(plan: Plan) -> list[Binding]:
    return [
        Binding(
            kind="memory",
            where=device.device,
            used=float(device.memory_bytes),
            limit=float(device.limit_bytes),
        )
        for device in plan.predictions.devices
        if device.memory_bytes >= TIGHT * device.limit_bytes
    ]


def _latencies(plan: Plan, roster: Roster) -> list[Binding]:
    objectives = {service.id: service for service in roster.job.services}
    found = []
    for service in plan.predictions.services:
        asked = objectives[service.service]
        used = service.mean_s if asked.slo_percentile is None else service.p95_s
        if asked.slo_s is not None and used >= TIGHT * asked.slo_s:
            found.append(
                Binding(kind="latency", where=service.service, used=used, limit=asked.slo_s)
            )
    return found


def _times(plan: Plan, roster: Roster) -> list[Binding]:
    """Seconds of the slowest cluster's step on each device and link, transfers and computing one
    after the other."""
    slowest = max(plan.predictions.steps, key=lambda step: step.makespan_s)
    cluster = next(c for c in plan.clusters if c.id == slowest.cluster)
    chain = chain_of(cluster, roster.job.fine_tuning)
    computing = step_figures(roster.cost, chain).busy_s
    sending = _link_seconds(roster.cost, chain)
    whole = sum(computing.values()) + sum(sending.values())
    parts = [("compute", where, seconds) for where, seconds in computing.items()]
    parts += [("link", where, seconds) for where, seconds in sending.items()]
    return [
        Binding.model_validate(
            {"kind": kind, "where": where, "cluster": cluster.id, "used": used, "limit": whole}
        )
        for kind, where, used in parts
        if used > LARGE * whole
    ]


def _link_seconds(cost: CostModel, chain: Chain) -> dict[str, float]:
    """Seconds of one step on each link, both ways."""
    seconds: defaultdict[str, float] = defaultdict(float)
    turns, samples = len(chain.owners) // chain.merged, chain.merged * chain.microbatch_size
    for (one, _, cut), (other, _, _) in zip(chain.body, chain.body[1:], strict=False):
        hop_s = stage_hop(cost, one, other, cut, samples).stage_s
        seconds[_link(one, other)] += turns * chain.microbatches * hop_s
    for owner in chain.owners if chain.body else ():
        ways = owner_hops(cost, chain, owner)
        for hop, end in zip(ways, (chain.body[0][0], chain.body[-1][0]), strict=True):
            if owner != end:
                seconds[_link(owner, end)] += chain.microbatches * hop.stage_s
    return dict(seconds)


def _link(one: str, other: str) -> str:
    return f"{min(one, other)}–{max(one, other)}"
