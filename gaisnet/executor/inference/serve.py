"""Split inference: batches of requests go from the entry through the body and back.

A driver that handles names of frames only; hidden states go from device to device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gaisnet.executor.data import Shard
from gaisnet.executor.engines.base import Address, Engine, Reply
from gaisnet.executor.inference.body import BodyServer
from gaisnet.executor.inference.chain import ServiceChain
from gaisnet.executor.inference.entry import EntryServer
from gaisnet.executor.inference.generation import Generation
from gaisnet.executor.inference.modules import ModuleSource
from gaisnet.executor.inference.port import Port, SessionLostError
from gaisnet.models import FoundationModel, Stage, make_stage
from gaisnet.schema.job import Compression
from gaisnet.schema.plan import Stage as StagePlan

__all__ = ["Answers", "Body", "ServiceDesk", "Serving", "StageSource"]

StageSource = Callable[[StagePlan], Stage]
"""Gives a device's stage: the one that it is tuning, or one of its own."""


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


@dataclass(frozen=True)
class Serving:
    """What all servers of a run share."""

    engine: Engine
    model: FoundationModel
    run: str
    compression: Compression = "none"
    stage_source: StageSource | None = None
    """By default every server has a stage of its own, with the model's tunable modules."""

    def stage(self, held: StagePlan) -> Stage:
        """The stage that a server runs."""
        if self.stage_source is not None:
            return self.stage_source(held)
        return make_stage(self.model, held.first_unit, held.last_unit)

    def port(self, device: str, name: str) -> Port:
        """What makes and reads a server's frames."""
        return Port(device, self.run, self.model, self.compression, name)


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
        port = serving.port(held.device, address.service)
        serving.engine.place(address, lambda: BodyServer(serving.model, serving.stage(held), port))

    def _address(self, index: int, held: StagePlan) -> Address:
        return Address(held.device, f"serve/{self._cluster}/{index}")


class ServiceDesk:
    """One service: its entry, and the passes of its batches through the body."""

    def __init__(
        self,
        serving: Serving,
        chain: ServiceChain,
        body: Body,
        requests: Shard,
        *,
        generation: Generation | None = None,
        batch_size: int = 32,
    ) -> None:
        """
        Args:
            serving: Engine, model and run.
            chain: Where head and tail are.
            body: Servers of the stages between.
            requests: What is asked; its name is the service's.
            generation: How prompts are continued; ``None`` for one answer per request.
            batch_size: Requests that go through the chain together.

        Raises:
            InputError: Prompts cannot be continued: too long, or padded on the right.
        """
        if generation is not None:
            generation.check(serving.model, requests)
        self._serving, self._chain, self._body = serving, chain, body
        self._engine = serving.engine
        self._requests = requests
        self._batch_size = batch_size
        self.entry = Address(chain.entry, f"serve/{requests.name}")
        port = serving.port(chain.entry, self.entry.service)
        self._engine.place(self.entry, lambda: self._make_entry(port, generation))
        self._waited_s = 0.0

    def steps(self) -> Iterator[int]:
        """Answer all requests; yields after every pass, counted over all batches.

        Between two passes modules may be swapped and stages replaced.

        Raises:
            RunError: A server is gone and was not replaced.
        """
        passes = 0
        for number, first in enumerate(range(0, len(self._requests), self._batch_size)):
            end = min(first + self._batch_size, len(self._requests))
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
        source = Address(sender, f"modules/{self._requests.name}")
        port = self._serving.port(sender, source.service)
        self._engine.place(source, lambda: ModuleSource(port, modules))
        ends = [held for held in (self._chain.head, self._chain.tail) if held is not None]
        held_by = [(self.entry, ends)] if ends else []
        held_by += [(a, [h]) for a, h in zip(self._body.addresses, self._body.stages, strict=True)]
        for address, held in held_by:
            names = self._names(modules, held)
            (parcel,) = self._engine.call(source, "publish", address.device, names).parcels
            self._engine.call(address, "load", parcels=[self._engine.send(parcel, address)])

    def _make_entry(self, port: Port, generation: Generation | None) -> EntryServer:
        serving, chain = self._serving, self._chain
        head = None if chain.head is None else serving.stage(chain.head)
        tail = None if chain.tail is None else serving.stage(chain.tail)
        return EntryServer(serving.model, head, tail, self._requests, port, generation)

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
        reply = self._engine.call(self.entry, "advance", number, first, replay)
        if first is None:
            return reply
        (parcel,) = reply.parcels
        for here, following in zip(hops, (*hops[1:], self.entry), strict=True):
            parcel = self._engine.send(parcel, here)
            to = following.device, following == self.entry
            (parcel,) = self._engine.call(here, "forward", *to, parcels=[parcel]).parcels
        parcel = self._engine.send(parcel, self.entry)
        return self._engine.call(self.entry, "take", parcels=[parcel])
