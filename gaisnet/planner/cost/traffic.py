"""Payload bytes of every message of HFSL, in closed form.

What a run meters must equal these sums exactly. Payload is tensor data (quantised tensors with
their scales); frame headers are not counted. Messages within a device take no bytes and are left
out, and so are empty ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from gaisnet.planner.cost.model import CostModel
from gaisnet.schema.job import FineTuning
from gaisnet.schema.plan import ClusterPlan

__all__ = [
    "Message",
    "MessageKind",
    "body_messages",
    "bytes_by_link",
    "cloud_messages",
    "cluster_round_messages",
    "module_messages",
    "owner_messages",
    "upload_messages",
]

MessageKind = Literal[
    "activation",
    "side_inputs",
    "labels",
    "gradient",
    "modules_down",
    "modules_up",
    "secrets",
    "raw_data",
]


ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_WORD_BYTES = 8
_KEYS_BYTES = 2 * 32
"""Two public keys of X25519."""
_SHARE_BYTES = 12 + 48 + 16
"""Nonce, shares of a key and of a seed, and tag of AES-GCM."""
_REVEAL_BYTES = 16
"""A share of a seed."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """Tensors from one device to another."""

    kind: MessageKind
    sender: str
    receiver: str
    payload_bytes: int
    times: int = 1
    """How often the same message is sent."""


def owner_messages(
    cost: CostModel, cluster: ClusterPlan, owner: str, samples: int
) -> Iterator[Message]:
    """Messages between an owner and the body for one batch (or micro-batch) of ``samples``.

    Forward: hidden states and side inputs to the first body stage, and hidden states back from
    the last one to the tail; gradients the other way, none where nothing below the cut is tuned.
    Under the vanilla topology the last stage gets the labels instead.
    """
    if not cluster.body:
        return
    first, last = cluster.body[0].device, cluster.body[-1].device
    entry, leave = cluster.head_units - 1, cluster.tail_first_unit - 1
    yield from _send("side_inputs", owner, first, cost.side_input_bytes(samples))
    if entry >= 0:
        yield from _send("activation", owner, first, cost.activation_bytes(entry, samples))
        yield from _send("gradient", first, owner, cost.gradient_bytes(entry, samples))
    if cluster.tail_first_unit == cost.n_units:
        yield from _send("labels", owner, last, cost.label_bytes(samples))
        return
    yield from _send("activation", last, owner, cost.activation_bytes(leave, samples))
    yield from _send("gradient", owner, last, cost.gradient_bytes(leave, samples))


def body_messages(cost: CostModel, cluster: ClusterPlan, samples: int) -> Iterator[Message]:
    """Messages between the body's stages for one batch of ``samples`` (all owners' if merged)."""
    for stage, following in pairwise(cluster.body):
        here, there, cut = stage.device, following.device, stage.last_unit
        yield from _send("activation", here, there, cost.activation_bytes(cut, samples))
        yield from _send("side_inputs", here, there, cost.side_input_bytes(samples))
        yield from _send("gradient", there, here, cost.gradient_bytes(cut, samples))


def module_messages(cost: CostModel, cluster: ClusterPlan) -> Iterator[Message]:
    """Tunable modules from the edge to every stage of the cluster, and back after the round.

    Under secure aggregation owners' modules come back as masked 64-bit words.
    """
    own = cost.module_bytes(0, cluster.head_units - 1)
    own += cost.module_bytes(cluster.tail_first_unit, cost.n_units - 1)
    for owner in cluster.owners:
        back = own
        if cost.secure_aggregation and own:
            back = own // ITEM_BYTES[cost.model.model.dtype] * _WORD_BYTES
            yield from _secrets(cluster, owner.device)
        yield from _send("modules_down", cluster.edge, owner.device, own)
        yield from _send("modules_up", owner.device, cluster.edge, back)
    for stage in cluster.body:
        payload = cost.module_bytes(stage.first_unit, stage.last_unit)
        yield from _send("modules_down", cluster.edge, stage.device, payload)
        yield from _send("modules_up", stage.device, cluster.edge, payload)


def _secrets(cluster: ClusterPlan, owner: str) -> Iterator[Message]:
    """Keys, sealed shares and reveals of one owner (Bonawitz et al., CCS 2017), none being lost."""
    count, edge = len(cluster.owners), cluster.edge
    yield from _send("secrets", owner, edge, _KEYS_BYTES)
    yield from _send("secrets", edge, owner, count * _KEYS_BYTES)
    yield from _send("secrets", owner, edge, (count - 1) * _SHARE_BYTES)
    yield from _send("secrets", edge, owner, (count - 1) * _SHARE_BYTES)
    yield from _send("secrets", owner, edge, count * _REVEAL_BYTES)


def cluster_round_messages(
    cost: CostModel, cluster: ClusterPlan, settings: FineTuning
) -> Iterator[Message]:
    """Every message of one round of one cluster, evaluation and the cloud left out."""
    yield from module_messages(cost, cluster)
    passes = settings.local_steps * cluster.microbatches
    samples = settings.batch_size // cluster.microbatches
    for owner in cluster.owners:
        yield from _repeat(owner_messages(cost, cluster, owner.device, samples), passes)
    owners = len(cluster.owners)
    yield from _repeat(body_messages(cost, cluster, samples), passes * owners)


def cloud_messages(
    cost: CostModel, edges: Iterable[str], cloud: str, domains: int = 1
) -> Iterator[Message]:
    """All tunable modules of each domain, from every edge to the cloud and back."""
    payload = domains * cost.module_bytes(0, cost.n_units - 1)
    for edge in edges:
        yield from _send("modules_up", edge, cloud, payload)
        yield from _send("modules_down", cloud, edge, payload)


def upload_messages(
    cost: CostModel, cluster: ClusterPlan, samples: Mapping[str, int]
) -> Iterator[Message]:
    """Raw data that owners get from other devices once, before the first round (centralised)."""
    for owner in cluster.owners:
        for shard in owner.shards:
            yield from _send("raw_data", shard, owner.device, cost.raw_input_bytes(samples[shard]))


def bytes_by_link(messages: Iterable[Message]) -> dict[tuple[str, str], int]:
    """Payload bytes over each directed link, keys sorted."""
    total: defaultdict[tuple[str, str], int] = defaultdict(int)
    for message in messages:
        total[message.sender, message.receiver] += message.payload_bytes * message.times
    return dict(sorted(total.items()))


def _send(kind: MessageKind, sender: str, receiver: str, payload: int) -> Iterator[Message]:
    if sender != receiver and payload > 0:
        yield Message(kind=kind, sender=sender, receiver=receiver, payload_bytes=payload)


def _repeat(messages: Iterable[Message], times: int) -> Iterator[Message]:
    for m in messages:
        yield Message(
            kind=m.kind,
            sender=m.sender,
            receiver=m.receiver,
            payload_bytes=m.payload_bytes,
            times=m.times * times,
        )
