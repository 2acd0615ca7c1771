"""Virtual time of a lone request: what its passes and frames would take on the idle fleet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from gaisnet.executor.blueprints import Blueprint, ModelSource
from gaisnet.executor.engines.base import (
    Address,
    Engine,
    LostDeviceError,
    News,
    Outcome,
    Parcel,
    Reply,
)
from gaisnet.executor.frames import Buffer
from gaisnet.executor.inference import ServiceChain
from gaisnet.executor.meter import Meter
from gaisnet.models import FoundationModel
from gaisnet.planner.cost import CostModel
from gaisnet.schema.plan import Stage
from gaisnet.schema.watch import DeviceState

__all__ = ["ServiceClock"]


class ServiceClock:
    """An engine that passes everything on to another and adds up the time that it would take.

    Passes of one request follow one another, so their times add up.

    Args:
        engine: Does the work.
        cost: Figures of the fleet, at the service's share.
        chain: Who holds what for the service.
    """

    name = "clocked"

    def __init__(self, engine: Engine, cost: CostModel, chain: ServiceChain) -> None:
        self._engine = engine
        self._cost = cost
        self._chain = chain
        self._prompt_tokens: int | None = None
        self._passes = 0
        self.elapsed_s = 0.0
        """Seconds since the first request was taken up."""

    @property
    def meter(self) -> Meter:
        """The engine's."""
        return self._engine.meter

    def lend(self, source: ModelSource, model: FoundationModel) -> None:
        """As the engine does."""
        self._engine.lend(source, model)

    def place(self, address: Address, blueprint: Blueprint) -> None:
        """As the engine does."""
        self._engine.place(address, blueprint)

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = None,
    ) -> Reply:
        """As the engine does; passes take time."""
        reply = self._engine.call(address, method, *arguments, parcels=parcels, makes=makes)
        self._account(address, method, reply)
        return reply

    def _account(self, address: Address, method: str, reply: Reply) -> None:
        if method in ("read", "ask"):
            self._prompt_tokens = reply.values["tokens"]
        elif method == "open":
            self._passes, self.elapsed_s = 0, 0.0
        elif method == "advance":
            self._passes += 1
            held = (self._chain.head,) if self._chain.body else self._chain.stages()
            self._compute(*held)
        elif method == "forward":
            index = int(address.service.rpartition("/")[2])
            self._compute(self._chain.body[index])
        elif method == "take":
            self._compute(self._chain.tail)

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """As the engine does; the frame takes time."""
        sender = parcel.address.device
        self.elapsed_s += self._cost.transfer_s(sender, receiver.device, parcel.frame_bytes)
        return self._engine.send(parcel, receiver)

    def put(self, frame: Buffer, receiver: Address) -> Parcel:
        """As the engine does."""
        return self._engine.put(frame, receiver)

    def fetch(self, parcel: Parcel) -> Buffer:
        """As the engine does."""
        return self._engine.fetch(parcel)

    def together(self, tasks: Sequence[Callable[[Engine], Outcome]]) -> list[Outcome]:
        """One after the other."""
        return [task(self) for task in tasks]

    def bear(
        self, devices: Collection[str]
    ) -> AbstractContextManager[Mapping[str, LostDeviceError]]:
        """As the engine does."""
        return self._engine.bear(devices)

    def heed(self, devices: Collection[str]) -> None:
        """As the engine does."""
        self._engine.heed(devices)

    def settle(self) -> None:
        """As the engine does."""
        self._engine.settle()

    def watch(self) -> frozenset[str]:
        """As the engine does."""
        return self._engine.watch()

    def release(self, device: str) -> None:
        """As the engine does."""
        self._engine.release(device)

    def states(self) -> Mapping[str, DeviceState]:
        """As the engine does."""
        return self._engine.states()

    def news(self) -> Mapping[str, News]:
        """As the engine does."""
        return self._engine.news()

    def differences(self) -> Mapping[str, str]:
        """As the engine does."""
        return self._engine.differences()

    def reach(self, devices: Collection[str]) -> frozenset[str]:
        """As the engine does."""
        return self._engine.reach(devices)

    def close(self) -> None:
        """Leaves the engine open: it is not this clock's."""

    def _compute(self, *held: Stage | None) -> None:
        for stage in held:
            if stage is not None:
                self.elapsed_s += self._pass_s(stage.device, stage.first_unit, stage.last_unit)

    def _pass_s(self, device: str, first_unit: int, last_unit: int) -> float:
        if self._prompt_tokens is None or self._passes == 1:
            return self._cost.prefill_s(device, first_unit, last_unit, 1, self._prompt_tokens)
        context = self._prompt_tokens + self._passes - 1
        return self._cost.decode_s(device, first_unit, last_unit, 1, context)
