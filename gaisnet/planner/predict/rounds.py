"""Seconds, joules and bytes of one round of fine-tuning, given all clusters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gaisnet.planner.chains import Chain, StepFigures, step_figures
from gaisnet.planner.cost import CostModel
from gaisnet.planner.cost.traffic import (
    Message,
    cloud_messages,
    cluster_round_messages,
    module_messages,
    upload_messages,
)
from gaisnet.planner.predict.contention import waiting_s
from gaisnet.schema.job import FineTuning
from gaisnet.schema.plan import ClusterPlan, LinkPrediction, StepPrediction

__all__ = ["RoundFigures", "chain_of", "messages_s", "predict_round", "round_links"]


@dataclass(frozen=True, kw_only=True)
class RoundFigures:
    """One round of all clusters."""

    steps: tuple[StepPrediction, ...]
    round_s: float
    aggregation_s: float
    busy_s: Mapping[str, float]
    """Of each device that computes."""
    energy_j: Mapping[str, float]
    """Of each device: computing, and sending."""


def chain_of(cluster: ClusterPlan, settings: FineTuning) -> Chain:
    """The chain of a planned cluster."""
    return Chain(
        owners=tuple(owner.device for owner in cluster.owners),
        head_units=cluster.head_units,
        tail_first_unit=cluster.tail_first_unit,
        body=tuple((s.device, s.first_unit, s.last_unit) for s in cluster.body),
        intra=cluster.intra,
        microbatches=cluster.microbatches,
        batch_size=settings.batch_size,
    )


def predict_round(
    cost: CostModel, clusters: Sequence[ClusterPlan], cloud: str, settings: FineTuning
) -> RoundFigures:
    """Slowest cluster's modules, local steps and averaging, then the average at the cloud.

    Links carry both directions at once, and owners that take turns overlap as far as heads and
    the ways into the body allow: so a step may take less than the makespan that the split
    minimises, which has neither. Every device works at full speed for whichever cluster asks
    first; what clusters wait for one another at devices that they share is estimated
    (``waiting_s``). An average at the cloud every few rounds counts with its part of a round.
    """
    chains = [chain_of(cluster, settings) for cluster in clusters]
    figures = [step_figures(cost, chain) for chain in chains]
    updates = [_updates_s(cost, chain) for chain in chains]
    ahead = [_ahead_s(*pair) for pair in zip(clusters, figures, strict=True)]
    alone = [f.duplex_s + u - a for f, u, a in zip(figures, updates, ahead, strict=True)]
    visits = [2 * chain.microbatches * _turns(chain) for chain in chains]
    waits = waiting_s(alone, [f.busy_s for f in figures], visits)
    lengths = [a + w for a, w in zip(alone, waits, strict=True)]
    averaging = [_averaging_s(cost, cluster) for cluster in clusters]
    edges = sorted({cluster.edge for cluster in clusters})
    cloud_s = _cloud_s(cost, edges, cloud, settings)
    steps = settings.local_steps
    parts = zip(lengths, averaging, ahead, clusters, strict=True)
    slowest = max(steps * s + a + first / len(c.owners) for s, a, first, c in parts)
    return RoundFigures(
        steps=tuple(map(_step, clusters, figures, lengths)),
        round_s=slowest + cloud_s,
        aggregation_s=max(averaging) + cloud_s,
        busy_s=_busy(figures, steps),
        energy_j=_energy(cost, clusters, chains, cloud, settings),
    )


def _ahead_s(cluster: ClusterPlan, figures: StepFigures) -> float:
    """What turns of different owners save by running beside one another: while one owner's batch
    is in the body, the next one's head may work. Handing modules on forbids that."""
    several = len(cluster.owners) > 1 and cluster.body
    if not several or cluster.intra == "merge" or cluster.handover == "relay":
        return 0.0
    busiest = max(figures.busy_s.values())
    return max(0.0, min(figures.ahead_s, figures.duplex_s - busiest))


def _step(cluster: ClusterPlan, figures: StepFigures, seconds: float) -> StepPrediction:
    return StepPrediction(
        cluster=cluster.id,
        latency_s=figures.latency_s,
        period_s=figures.period_s,
        makespan_s=seconds,
        energy_j=figures.energy_j,
    )


def _turns(chain: Chain) -> int:
    return len(chain.owners) // chain.merged


def _updates_s(cost: CostModel, chain: Chain) -> float:
    """Optimizer steps after each turn; devices update beside one another."""
    body = [cost.update_s(device, first, last) for device, first, last in chain.body]
    own = [
        cost.update_s(owner, 0, chain.head_units - 1)
        + cost.update_s(owner, chain.tail_first_unit, cost.n_units - 1)
        for owner in chain.owners
    ]
    if chain.intra == "merge":
        return max([*body, *own])
    return sum(max([*body, seconds]) for seconds in own)


def _averaging_s(cost: CostModel, cluster: ClusterPlan) -> float:
    """Modules down to all devices and up again, each link beside the others.

    Owners that hand their modules on do so one after the other, through the edge.
    """
    messages = list(module_messages(cost, cluster))
    by_device: defaultdict[str, float] = defaultdict(float)
    for message in messages:
        device = message.receiver if message.sender == cluster.edge else message.sender
        by_device[device] += messages_s(cost, [message])
    if not by_device:
        return 0.0
    if cluster.handover == "average":
        return max(by_device.values())
    owners = {owner.device for owner in cluster.owners}
    relay_s = sum(seconds for device, seconds in by_device.items() if device in owners)
    return max([relay_s, *(s for device, s in by_device.items() if device not in owners)])


def _cloud_s(cost: CostModel, edges: Sequence[str], cloud: str, settings: FineTuning) -> float:
    by_edge = [messages_s(cost, cloud_messages(cost, [edge], cloud)) for edge in edges]
    return max(by_edge, default=0.0) / settings.cloud_every


def messages_s(cost: CostModel, messages: Iterable[Message]) -> float:
    """Seconds of messages one after the other; side inputs travel with their activations."""
    total_s = 0.0
    for message in messages:
        way = cost.links.way(message.sender, message.receiver)
        seconds = cost.transfer_s(message.sender, message.receiver, message.payload_bytes)
        if message.kind == "side_inputs":
            seconds -= way.latency_s
        total_s += message.times * seconds
    return total_s


def _busy(figures: Sequence[StepFigures], steps: int) -> dict[str, float]:
    busy: defaultdict[str, float] = defaultdict(float)
    for found in figures:
        for device, seconds in found.busy_s.items():
            busy[device] += steps * seconds
    return dict(sorted(busy.items()))


def _energy(
    cost: CostModel,
    clusters: Sequence[ClusterPlan],
    chains: Sequence[Chain],
    cloud: str,
    settings: FineTuning,
) -> dict[str, float]:
    joules: defaultdict[str, float] = defaultdict(float)
    for chain in chains:
        passes = settings.local_steps * chain.microbatches
        for owner in chain.owners:
            for span in ((0, chain.head_units - 1), (chain.tail_first_unit, cost.n_units - 1)):
                joules[owner] += passes * cost.energy_j(owner, *span, chain.microbatch_size)
        turns = passes * _turns(chain)
        for device, first, last in chain.body:
            samples = chain.merged * chain.microbatch_size
            joules[device] += turns * cost.energy_j(device, first, last, samples)
    for message in _round_messages(cost, clusters, cloud, settings):
        sent = cost.transfer_j(message.sender, message.receiver, message.payload_bytes)
        joules[message.sender] += message.times * sent
    return dict(sorted(joules.items()))


def _round_messages(
    cost: CostModel, clusters: Sequence[ClusterPlan], cloud: str, settings: FineTuning
) -> list[Message]:
    """All messages of a round that ends with an average at the cloud."""
    messages = [m for c in clusters for m in cluster_round_messages(cost, c, settings)]
    edges = sorted({cluster.edge for cluster in clusters})
    domains = len({cluster.domain for cluster in clusters}) if settings.personal else 1
    return [*messages, *cloud_messages(cost, edges, cloud, domains)]


def round_links(
    cost: CostModel,
    clusters: Sequence[ClusterPlan],
    cloud: str,
    settings: FineTuning,
    samples: Mapping[str, int],
) -> tuple[LinkPrediction, ...]:
    """Bytes and seconds over each directed link in a round that ends at the cloud.

    Raw data that central training uploads once is spread over all rounds.
    """
    messages = _round_messages(cost, clusters, cloud, settings)
    once = [m for cluster in clusters for m in upload_messages(cost, cluster, samples)]
    payload: defaultdict[tuple[str, str], int] = defaultdict(int)
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    for message, rounds in [*((m, 1) for m in messages), *((m, settings.rounds) for m in once)]:
        link = message.sender, message.receiver
        payload[link] += -(-message.payload_bytes * message.times // rounds)
        seconds[link] += messages_s(cost, [message]) / rounds
    return tuple(
        LinkPrediction(
            sender=link[0],
            receiver=link[1],
            payload_bytes_per_round=payload[link],
            transfer_s_per_round=seconds[link],
        )
        for link in sorted(payload)
    )
