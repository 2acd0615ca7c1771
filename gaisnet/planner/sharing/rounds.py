"""How long a round of fine-tuning takes, as a function of its shares.

The makespan of every turn (``latency + (M - 1) · period``), optimizer steps, averaging, as
``predict_round`` has them, but without what turns of different owners and both directions of a
link save by going on at once, and without the waits of clusters for one another: those are no
convex functions of shares. What ``predict_round`` says of the shares that come out has them all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from gaisnet.planner.chains import Chain
from gaisnet.planner.chains.hops import Hop, entry_hop, exit_hop, stage_hop
from gaisnet.planner.cost import CostModel
from gaisnet.planner.cost.traffic import Message, cloud_messages, module_messages
from gaisnet.planner.predict import chain_of
from gaisnet.planner.predict.rounds import messages_s
from gaisnet.planner.sharing.seconds import (
    NOTHING,
    Length,
    Paces,
    Resource,
    Seconds,
    computed,
    total,
)
from gaisnet.schema.job import FineTuning
from gaisnet.schema.plan import ClusterPlan

__all__ = ["round_lengths"]

Maximum = tuple[float, tuple[Seconds, ...]]


def round_lengths(
    paces: Paces, clusters: Sequence[ClusterPlan], cloud: str, settings: FineTuning
) -> tuple[Length, ...]:
    """Times of which the longest is a round: each cluster's, and each shared device's work."""
    cloud_part = _cloud(paces, sorted({c.edge for c in clusters}), cloud, settings)
    chains = [chain_of(cluster, settings) for cluster in clusters]
    lengths = [
        _cluster(paces, cluster, chain, settings.local_steps, cloud_part)
        for cluster, chain in zip(clusters, chains, strict=True)
    ]
    work = [_work(paces.full, chain, settings.local_steps) for chain in chains]
    devices = sorted({device for busy in work for device in busy})
    for device in devices:
        here = [busy[device] for busy in work if device in busy]
        if len(here) > 1:
            lengths.append(Length(plain=computed(device, sum(here)), longest=cloud_part))
    return tuple(lengths)


def _cluster(
    paces: Paces, cluster: ClusterPlan, chain: Chain, steps: int, cloud: tuple[Maximum, ...]
) -> Length:
    turns = [_turn(paces, chain, owners) for owners in _turns(chain)]
    return Length(
        plain=total(turn.plain.scaled(steps) for turn in turns),
        longest=(
            *((steps * weight, parts) for turn in turns for weight, parts in turn.longest),
            *_averaging(paces, cluster),
            *cloud,
        ),
    )


def _turns(chain: Chain) -> list[tuple[str, ...]]:
    if chain.intra == "merge":
        return [chain.owners]
    return [(owner,) for owner in chain.owners]


def _turn(paces: Paces, chain: Chain, owners: Sequence[str]) -> Length:
    """One pass of a micro-batch, the longest stage for each further one, the optimizer's step."""
    samples = len(owners) * chain.microbatch_size
    stages = [_pass(paces.full, device, first, last, samples) for device, first, last in chain.body]
    cuts = [
        total(_ways(paces, (sender, receiver), partial(_stage_hop, sender, receiver, cut, samples)))
        for (sender, _, cut), (receiver, _, _) in pairwise(chain.body)
    ]
    ends = [_ends(paces, chain, owner) for owner in owners]
    beside = tuple(zip(*((end.into, end.around, end.back) for end in ends), strict=True))
    own = [end.own for end in ends]
    period = (*_by_device([*stages, *own]), *cuts, *(hop for end in ends for hop in end.hops))
    return Length(
        plain=total([*stages, *cuts]),
        longest=(
            *((1.0, parts) for parts in beside),
            (chain.microbatches - 1.0, period),
            (1.0, _updates(paces.full, chain, owners)),
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Ends:
    """An owner's part of a turn."""

    own: Seconds
    """What it computes."""
    into: Seconds
    """From its input into the body."""
    around: Seconds
    """From the body through the tail and back into the body."""
    back: Seconds
    """From the body back through the head."""
    hops: tuple[Seconds, ...]
    """Both cuts, both ways."""


def _ends(paces: Paces, chain: Chain, owner: str) -> _Ends:
    samples, cost = chain.microbatch_size, paces.full
    head, tail = (0, chain.head_units - 1), (chain.tail_first_unit, cost.n_units - 1)
    forward = computed(owner, cost.forward_s(owner, *head, samples))
    backward = computed(owner, cost.backward_s(owner, *head, samples))
    turning = _pass(cost, owner, *tail, samples)
    entry = leave = NOTHING, NOTHING
    if chain.body:
        first, last = chain.body[0][0], chain.body[-1][0]
        labels = chain.tail_first_unit == cost.n_units
        entry = _ways(paces, (owner, first), partial(_entry_hop, chain, owner))
        leave = _ways(
            paces, (owner, last) if labels else (last, owner), partial(_exit_hop, chain, owner)
        )
    return _Ends(
        own=total([forward, backward, turning]),
        into=total([forward, entry[0]]),
        around=total([leave[0], turning, leave[1]]),
        back=total([entry[1], backward]),
        hops=(total(entry), total(leave)),
    )


def _ways(
    paces: Paces, between: tuple[str, str], hop: Callable[[CostModel], Hop]
) -> tuple[Seconds, Seconds]:
    """A hop's two directions; each is sent from its own end."""
    sender, receiver = between
    return (
        paces.sent(sender, lambda cost: hop(cost).forward_s),
        paces.sent(receiver, lambda cost: hop(cost).backward_s),
    )


def _stage_hop(sender: str, receiver: str, cut: int, samples: int, cost: CostModel) -> Hop:
    return stage_hop(cost, sender, receiver, cut, samples)


def _entry_hop(chain: Chain, owner: str, cost: CostModel) -> Hop:
    return entry_hop(cost, owner, chain.body[0][0], chain.head_units, chain.microbatch_size)


def _exit_hop(chain: Chain, owner: str, cost: CostModel) -> Hop:
    return exit_hop(cost, owner, chain.body[-1][0], chain.tail_first_unit, chain.microbatch_size)


def _pass(cost: CostModel, device: str, first: int, last: int, samples: int) -> Seconds:
    seconds = cost.forward_s(device, first, last, samples)
    return computed(device, seconds + cost.backward_s(device, first, last, samples))


def _by_device(work: Iterable[Seconds]) -> list[Seconds]:
    busy: defaultdict[Resource, float] = defaultdict(float)
    for part in work:
        for resource, seconds in part.needed.items():
            busy[resource] += seconds
    return [Seconds(needed={resource: seconds}) for resource, seconds in sorted(busy.items())]


def _updates(cost: CostModel, chain: Chain, owners: Sequence[str]) -> tuple[Seconds, ...]:
    """Optimizer steps of a turn go on beside one another."""
    body = [computed(d, cost.update_s(d, first, last)) for d, first, last in chain.body]
    own = []
    for owner in owners:
        head_s = cost.update_s(owner, 0, chain.head_units - 1)
        tail_s = cost.update_s(owner, chain.tail_first_unit, cost.n_units - 1)
        own.append(computed(owner, head_s + tail_s))
    return (*body, *own)


def _averaging(paces: Paces, cluster: ClusterPlan) -> tuple[Maximum, ...]:
    """Modules down to every device and up again, devices beside one another; owners that hand
    theirs on do so one after the other."""
    by_device: defaultdict[str, list[Seconds]] = defaultdict(list)
    for message in module_messages(paces.full, cluster):
        device = message.receiver if message.kind == "modules_down" else message.sender
        by_device[device].append(_message(paces, message))
    owners = {owner.device for owner in cluster.owners}
    parts = {device: total(sent) for device, sent in by_device.items()}
    if cluster.handover == "relay":
        together = total(part for device, part in parts.items() if device in owners)
        apart = [part for device, part in parts.items() if device not in owners]
        return ((1.0, (together, *apart)),)
    return ((1.0, tuple(parts.values())),) if parts else ()


def _cloud(
    paces: Paces, edges: Sequence[str], cloud: str, settings: FineTuning
) -> tuple[Maximum, ...]:
    by_edge = [
        total(_message(paces, message) for message in cloud_messages(paces.full, [edge], cloud))
        for edge in edges
    ]
    return ((1.0 / settings.cloud_every, tuple(by_edge)),)


def _message(paces: Paces, message: Message) -> Seconds:
    return paces.sent(message.sender, lambda cost: messages_s(cost, [message]))


def _work(cost: CostModel, chain: Chain, steps: int) -> dict[str, float]:
    """Seconds per round that a chain keeps each device of its body busy."""
    samples = chain.merged * chain.microbatch_size
    passes = steps * chain.microbatches * (len(chain.owners) // chain.merged)
    busy: defaultdict[str, float] = defaultdict(float)
    for device, first, last in chain.body:
        seconds = cost.forward_s(device, first, last, samples)
        busy[device] += passes * (seconds + cost.backward_s(device, first, last, samples))
    return dict(busy)
