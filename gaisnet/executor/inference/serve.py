"""Split inference: batches of requests go from the entry through the body and back.

A driver that handles names of frames only; hidden states go from device to device.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gaisnet.executor.blueprints import (
    BodyBlueprint,
    EntryBlueprint,
    ModelSource,
    ModulesBlueprint,
    RequestSource,
    Span,
)
from gaisnet.executor.data import Shard
from gaisnet.executor.engines.base import Address, Engine, Parcel, Reply
from gaisnet.executor.frames import Kind
from gaisnet.executor.inference.chain import ServiceChain
from gaisnet.executor.inference.port import SessionLostError
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.models import FoundationModel
from gaisnet.schema.base import Compute
from gaisnet.schema.job import Compression, PrivacySpec
from gaisnet.schema.plan import Stage as StagePlan

__all__ = ["Answers", "Body", "ServiceDesk", "Serving"]


@dataclass(frozen=True, slots=True)
class Answers:
    """What a service got."""

    answers: list[Any]
    """By request: a class, or a list of tokens (up to the end token) or values."""
    hits: int | None
    """Right ones, if there were labels and there is right and wrong."""
    count: int
    """Answers or tokens that were scored."""
    wall_s: float
    """Mean seconds from taking up a request's batch to its answer."""


class Serving:
    """What all servers of a run share.

    Args:
        engine: Where servers are placed.
        model: The whole model, as whoever runs the service has it.
        run: Id of the run.
        compression: Of hidden states.
        source: Where the servers' devices find the model; by default they are lent this one.
        privacy: What entries do to the activations that they send.
        epoch: Of the run.
        compute: What each device computes on; the CPU where it is not said.
    """

    def __init__(
        self,
        engine: Engine,
        model: FoundationModel,
        run: str,
        compression: Compression = "none",
        source: ModelSource | None = None,
        privacy: PrivacySpec | None = None,
        epoch: int = 0,
        compute: Mapping[str, Compute] | None = None,
    ) -> None:
        self.epoch = epoch
        self._compute = compute or {}
        self.engine, self.model, self.run, self.compression = engine, model, run, compression
        self.privacy = privacy or PrivacySpec()
        self._source = ModelSource.of(model) if source is None else source
        engine.lend(self._source, model)

    def source(self, device: str) -> ModelSource:
        """Where a device finds the model, and on what it computes with it."""
        return self._source.on(self._compute.get(device, "cpu"))

    def put(self, kind: Kind, receiver: Address, tensors: Mapping[str, Tensor]) -> Parcel:
        """A frame of the driver's, laid at a server."""
        mailbox = Mailbox(receiver.device, self.run, self.epoch)
        return self.engine.put(mailbox.frame(kind, receiver.device, tensors, Moment())[1], receiver)


class Body:
    """The body servers of a cluster, shared by all services that are routed to it."""

    def __init__(self, serving: Serving, cluster: str, stages: Sequence[StagePlan]) -> None:
        self._serving = serving
        self._cluster = cluster
        self._stages = list(stages)
        for index in range(len(self._stages)):
            self.place(index)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where the servers are, in the order of the stages."""
        return tuple(self._address(n, held) for n, held in enumerate(self._stages))

    @property
    def stages(self) -> tuple[StagePlan, ...]:
        """Which device holds which units."""
        return tuple(self._stages)

    def place(self, index: int, device: str | None = None) -> None:
        """Start the server of a stage, anew and possibly on another device.

        Its caches are empty: sessions that are under way are replayed into it.
        """
        held = self._stages[index]
        if device is not None:
            held = self._stages[index] = held.model_copy(update={"device": device})
        serving, address = self._serving, self._address(index, held)
        blueprint = BodyBlueprint(
            device=held.device,
            run=serving.run,
            epoch=serving.epoch,
            name=address.service,
            model=serving.source(held.device),
            span=_span(held),
            compression=serving.compression,
        )
        serving.engine.place(address, blueprint)

    def _address(self, index: int, held: StagePlan) -> Address:
        return Address(held.device, f"serve/{self._cluster}/{index}")


class ServiceDesk:
    """One service: its entry, and the passes of its batches through the body."""

    def __init__(
        self,
        serving: Serving,
        chain: ServiceChain,
        body: Body,
        requests: Shard | RequestSource,
        *,
        new_tokens: int = 0,
        batch_size: int = 32,
    ) -> None:
        """
        Args:
            serving: Engine, model and run.
            chain: Where head and tail are.
            body: Servers of the stages between.
            requests: What is asked, or where the entry finds it; its name is the service's.
            new_tokens: Tokens to generate for each request; 0 for one answer per request.
            batch_size: Requests that go through the chain together.

        Raises:
            InputError: The requests are not what the model takes, or cannot be continued: too
                long, or padded on the right.
        """
        self._serving, self._chain, self._body = serving, chain, body
        self._engine = serving.engine
        self._name = requests.name
        self._batch_size = batch_size
        self.entry = Address(chain.entry, f"serve/{requests.name}")
        self._engine.place(self.entry, self._entry_blueprint(new_tokens))
        self._n_requests = self._take_up(requests)
        self._waited_s = 0.0

    def steps(self) -> Iterator[int]:
        """Answer all requests; yields after every pass, counted over all batches.

        Between two passes modules may be swapped and stages replaced.

        Raises:
            RunError: A server is gone and was not replaced.
        """
        passes = 0
        for number, first in enumerate(range(0, self._n_requests, self._batch_size)):
            end = min(first + self._batch_size, self._n_requests)
            started, done = time.perf_counter(), False
            self._engine.call(self.entry, "open", number, first, end)
            while not done:
                values = self._pass_or_replay(number).values
                passes, done = passes + 1, values["done"]
                yield passes
            self._waited_s += (time.perf_counter() - started) * (end - first)
            for address in self._body.addresses:
                self._engine.call(address, "end", values["session"])

    def answer(self) -> Answers:
        """Answer all requests.

        Raises:
            RunError: A server is gone.
        """
        for _ in self.steps():
            pass
        return self.collect()

    def collect(self) -> Answers:
        """What was answered so far."""
        values = self._engine.call(self.entry, "collect").values
        rows = values["answers"]
        wall_s = self._waited_s / max(len(rows), 1)
        return Answers(rows, values["hits"], values["count"], wall_s)

    def swap(self, modules: Mapping[str, Tensor], sender: str) -> None:
        """New tunable modules for all servers of the chain, from the edge; sessions live on.

        Args:
            modules: By the whole model's names.
            sender: The edge's device.

        Raises:
            ModelError: A module is missing or has another shape.
        """
        source = Address(sender, f"modules/{self._name}")
        blueprint = ModulesBlueprint(
            device=sender,
            run=self._serving.run,
            epoch=self._serving.epoch,
            name=source.service,
        )
        self._engine.place(source, blueprint)
        self._engine.call(source, "fill", parcels=[self._serving.put("modules", source, modules)])
        ends = [held for held in (self._chain.head, self._chain.tail) if held is not None]
        held_by = [(self.entry, ends)] if ends else []
        held_by += [(a, [h]) for a, h in zip(self._body.addresses, self._body.stages, strict=True)]
        for address, held in held_by:
            names = self._names(modules, held)
            made = self._engine.call(source, "publish", address.device, names, makes=1)
            (parcel,) = made.parcels
            self._engine.call(address, "load", parcels=[self._engine.send(parcel, address)])

    def _entry_blueprint(self, new_tokens: int) -> EntryBlueprint:
        serving, chain = self._serving, self._chain
        return EntryBlueprint(
            device=chain.entry,
            run=serving.run,
            epoch=serving.epoch,
            name=self.entry.service,
            model=serving.source(chain.entry),
            head=None if chain.head is None else _span(chain.head),
            tail=None if chain.tail is None else _span(chain.tail),
            new_tokens=new_tokens,
            compression=serving.compression,
            privacy=serving.privacy,
        )

    def _take_up(self, requests: Shard | RequestSource) -> int:
        if isinstance(requests, RequestSource):
            reply = self._engine.call(self.entry, "read", requests)
        else:
            parcel = self._serving.put("data", self.entry, requests.tensors())
            reply = self._engine.call(self.entry, "ask", requests.name, parcels=[parcel])
        return int(reply.values["requests"])

    def _names(self, modules: Mapping[str, Tensor], held: Sequence[StagePlan]) -> list[str]:
        units = {unit for one in held for unit in range(one.first_unit, one.last_unit + 1)}
        model = self._serving.model
        return sorted(name for name in modules if units & set(model.units_of(name)))

    def _pass_or_replay(self, number: int) -> Reply:
        try:
            return self._pass(number, replay=False)
        except SessionLostError:
            return self._pass(number, replay=True)

    def _pass(self, number: int, *, replay: bool) -> Reply:
        hops = self._body.addresses
        first = hops[0].device if hops else None
        makes = None if first is None else 1
        reply = self._engine.call(self.entry, "advance", number, first, replay, makes=makes)
        if first is None:
            return reply
        (parcel,) = reply.parcels
        for here, following in zip(hops, (*hops[1:], self.entry), strict=True):
            parcel = self._engine.send(parcel, here)
            to = following.device, following == self.entry
            reply = self._engine.call(here, "forward", *to, parcels=[parcel], makes=1)
            (parcel,) = reply.parcels
        parcel = self._engine.send(parcel, self.entry)
        return self._engine.call(self.entry, "take", parcels=[parcel])


def _span(held: StagePlan) -> Span:
    return Span(first_unit=held.first_unit, last_unit=held.last_unit)
