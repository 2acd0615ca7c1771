"""Ways in which a service can be answered: cluster, entry device, and the time on each resource."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from gaisnet.planner.cost import CostModel
from gaisnet.planner.roster import Roster
from gaisnet.schema.job import Service
from gaisnet.schema.plan import ClusterPlan, Stage

__all__ = ["Option", "Resource", "options_of", "stages_of", "visits_of"]

Resource = str | tuple[str, str]
"""A device, or a directed link (sender, receiver)."""

ANSWER_BYTES = 8
"""What a last body stage sends back to the entry: one 64-bit class or token."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Option:
    """A service answered by one cluster, entered at one device; compared by identity."""

    service: Service
    cluster: str
    entry: str
    demand_s: Mapping[Resource, float]
    """Seconds of one request on each resource, within the inference share."""

    @property
    def idle_s(self) -> float:
        """Latency of a request that finds everything idle: its passes follow one another."""
        return sum(self.demand_s.values())


def options_of(
    roster: Roster, clusters: Sequence[ClusterPlan], service: Service, inference: CostModel
) -> list[Option]:
    """All ways that links allow, cheapest first.

    A service with an ``origin`` enters there; others at any owner. Where modules are personal,
    only clusters of the service's own domain answer.

    Args:
        roster: Fleet and job.
        clusters: The plan's.
        service: The service.
        inference: The cost model at inference's share.
    """
    found = []
    for cluster in clusters:
        if roster.job.fine_tuning.personal and cluster.domain != service.domain:
            continue
        owners = [owner.device for owner in cluster.owners]
        for entry in [service.origin] if service.origin is not None else owners:
            demand = _demand(inference, cluster, entry, service)
            option = Option(service=service, cluster=cluster.id, entry=entry, demand_s=dict(demand))
            if option.idle_s != float("inf"):
                found.append(option)
    home = {c.id for c in clusters if service.origin in {owner.device for owner in c.owners}}
    return sorted(found, key=lambda o: (o.cluster not in home, o.idle_s, o.cluster, o.entry))


def stages_of(cluster: ClusterPlan, entry: str, n_units: int) -> list[Stage]:
    """The stages that a request passes, the entry's head first and its tail last."""
    stages = [Stage(device=entry, first_unit=0, last_unit=cluster.head_units - 1)]
    stages += cluster.body
    if cluster.tail_first_unit < n_units:
        tail = cluster.tail_first_unit
        stages.append(Stage(device=entry, first_unit=tail, last_unit=n_units - 1))
    return stages


def _demand(
    cost: CostModel, cluster: ClusterPlan, entry: str, service: Service
) -> Mapping[Resource, float]:
    """Seconds of one request on each device and link."""
    demand: defaultdict[Resource, float] = defaultdict(float)
    for resource, seconds in visits_of(cost, cluster, entry, service):
        demand[resource] += seconds
    return demand


def visits_of(
    cost: CostModel, cluster: ClusterPlan, entry: str, service: Service
) -> Iterator[tuple[Resource, float]]:
    """Each stay of a request at a device or link, in order within a pass.

    One pass answers a classification. A generation prefills its prompt, which gives the first
    token, and then passes the chain once for every further token.
    """
    stages = stages_of(cluster, entry, cost.n_units)
    prompt = service.prompt_tokens
    for stage in stages:
        span = stage.device, stage.first_unit, stage.last_unit
        yield stage.device, cost.prefill_s(*span, 1, prompt)
    yield from _hops(cost, stages, entry, (prompt, prompt))
    start = prompt or cost.model.tokens
    for context in range(start + 1, start + service.output_tokens):
        for stage in stages:
            span = stage.device, stage.first_unit, stage.last_unit
            yield stage.device, cost.decode_s(*span, 1, context)
        yield from _hops(cost, stages, entry, (1, 0))


def _hops(
    cost: CostModel,
    stages: Sequence[Stage],
    entry: str,
    tokens: tuple[int | None, int | None],
) -> Iterator[tuple[Resource, float]]:
    """One pass over the chain's links: tokens of the hidden states, and of the side inputs.

    Sessions remember masks and positions, so side inputs travel with the prompt alone.
    """
    for sender, receiver, payload in _payloads(cost, stages, entry, tokens):
        if sender != receiver:
            yield (sender, receiver), cost.transfer_s(sender, receiver, payload)


def _payloads(
    cost: CostModel,
    stages: Sequence[Stage],
    entry: str,
    tokens: tuple[int | None, int | None],
) -> Iterator[tuple[str, str, int]]:
    new, context = tokens
    last = stages[-1]
    for here, following in pairwise(stages):
        payload = cost.activation_bytes(here.last_unit, 1, new)
        if following is not last or last.device != entry:
            payload += cost.side_input_bytes(1, context)
        yield here.device, following.device, payload
    if last.device != entry:
        yield last.device, entry, ANSWER_BYTES
