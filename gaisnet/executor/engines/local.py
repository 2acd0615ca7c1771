"""The embedded engine: all devices in this process, every message still a real frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import Blueprint, ModelSource
from gaisnet.executor.engines.base import Address, Answer, Parcel, Reply
from gaisnet.executor.frames import Buffer
from gaisnet.executor.meter import Meter
from gaisnet.models import FoundationModel

if TYPE_CHECKING:
    from gaisnet.executor.workshop import Workshop

__all__ = ["LocalEngine"]

Tap = Callable[[str, str, Buffer], None]
"""Is shown sender, receiver and frame."""


@dataclass(slots=True)
class _Parcel:
    address: Address
    receiver: str
    """Device that the frame was made for."""
    frame: Buffer
    task: int | None = None

    @property
    def frame_bytes(self) -> int:
        return len(self.frame)

    def size(self) -> Callable[[], int]:
        found = self.frame_bytes
        return lambda: found


@dataclass(slots=True)
class _Reply:
    parcels: tuple[Parcel, ...]
    values: Mapping[str, Any]
    work_s: Callable[[], float | None]
    task: int | None = None


class LocalEngine:
    """Runs services in this process, one call after the other."""

    name = "local"

    def __init__(self, tap: Tap | None = None) -> None:
        """``tap`` sees every frame that a service made for another, also within a device."""
        self.meter = Meter()
        self._tap = tap
        self._workshop = _new_workshop()
        self._services: dict[Address, object] = {}

    def lend(self, source: ModelSource, model: FoundationModel) -> None:
        """All services share it."""
        self._workshop.lend(source, model)

    def place(self, address: Address, blueprint: Blueprint) -> None:
        """Build the service."""
        self._services[address] = self._workshop.build(blueprint)

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = None,
    ) -> Reply:
        """Call and wait."""
        for parcel in parcels:
            if parcel.address != address:
                raise RunError(f"{address} was given a frame that lies at {parcel.address}")
        started = time.perf_counter()
        answer = self._method(address, method)(*arguments, *map(_frame_of, parcels))
        seconds = time.perf_counter() - started
        if makes not in (None, len(answer.frames)):
            raise RunError(f"{method} of {address} made {len(answer.frames)} frames, not {makes}")
        made = tuple(_Parcel(address, receiver, frame) for receiver, frame in answer.frames)
        return _Reply(made, answer.values, lambda: seconds)

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """Hand the frame over."""
        assert isinstance(parcel, _Parcel)
        if parcel.receiver != receiver.device:
            raise RunError(f"a frame for {parcel.receiver} was to be sent to {receiver.device}")
        sender = parcel.address.device
        if self._tap is not None:
            self._tap(sender, receiver.device, parcel.frame)
        self.meter.count(sender, receiver.device, parcel.frame)
        return _Parcel(receiver, receiver.device, parcel.frame, parcel.task)

    def put(self, frame: Buffer, receiver: Address) -> Parcel:
        """Name it there."""
        return _Parcel(receiver, receiver.device, frame)

    def fetch(self, parcel: Parcel) -> Buffer:
        """The frame itself."""
        return _frame_of(parcel)

    def settle(self) -> None:
        """Every call was waited for."""

    def watch(self) -> frozenset[str]:
        """Nothing is lost within one process."""
        return frozenset()

    def close(self) -> None:
        """Forget all services and models."""
        self._services.clear()
        self._workshop = _new_workshop()

    def _method(self, address: Address, method: str) -> Callable[..., Answer]:
        service = self._services.get(address)
        found = None if method.startswith("_") else getattr(service, method, None)
        if found is None:
            raise RunError(f"no service {address.service} with {method} on {address.device}")
        called: Callable[..., Answer] = found
        return called


def _frame_of(parcel: Parcel) -> Buffer:
    assert isinstance(parcel, _Parcel)
    return parcel.frame


def _new_workshop() -> Workshop:
    # Services speak to engines; so the engine that builds them learns of them last.
    from gaisnet.executor.workshop import Workshop

    return Workshop()
