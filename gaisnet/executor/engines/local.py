"""The embedded engine: all devices in this process, every message still a real frame."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import Blueprint, ModelSource
from gaisnet.executor.compute import computed
from gaisnet.executor.devicelog import DeviceLog, secrets_of
from gaisnet.executor.engines.base import (
    Address,
    Answer,
    Engine,
    LostDeviceError,
    News,
    Outcome,
    Parcel,
    Reply,
)
from gaisnet.executor.frames import Buffer
from gaisnet.executor.meter import Meter
from gaisnet.models import FoundationModel
from gaisnet.schema.watch import DeviceState, LogLevel

if TYPE_CHECKING:
    from gaisnet.executor.workshop import Workshop

__all__ = ["LocalEngine"]

Tap = Callable[[str, str, Buffer], Buffer | None]
"""Is shown sender, receiver and frame; a frame that it returns is carried instead."""


@dataclass(slots=True)
class _Parcel:
    address: Address
    receiver: str
    """Device that the frame was made for."""
    frame: Buffer
    task: int | None = None
    lost: LostDeviceError | None = None
    """Why it was never made, or has not come."""

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

    def __init__(self, tap: Tap | None = None, log_level: LogLevel = "info") -> None:
        """``tap`` sees every frame that a service made for another, also within a device."""
        self.meter = Meter()
        self._log_level = log_level
        self._logs: dict[str, DeviceLog] = {}
        self._calls: dict[str, int] = {}
        self._computing: str | None = None
        self._borne: frozenset[str] = frozenset()
        self._losses: dict[str, LostDeviceError] = {}
        self._tap = tap
        self._workshop = _new_workshop(self)
        self._services: dict[Address, object] = {}

    def lend(self, source: ModelSource, model: FoundationModel) -> None:
        """All services share it."""
        self._workshop.lend(source, model)

    def place(self, address: Address, blueprint: Blueprint) -> None:
        """Build the service."""
        started = time.perf_counter()
        self._services[address] = computed(address.device, self._workshop.build, blueprint)
        self._log(address.device).placed(address.service, time.perf_counter() - started)

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
        try:
            frames = [_frame_of(parcel) for parcel in parcels]
            answer, seconds = self._timed(address, method, (*arguments, *frames))
        except LostDeviceError as error:
            self._take_as_lost(error, address.device, *map(_missing, parcels))
            nothing = _Parcel(address, "", b"", lost=error)
            return _Reply((nothing,) * (makes or 0), {}, lambda: None)
        if makes not in (None, len(answer.frames)):
            raise RunError(f"{method} of {address} made {len(answer.frames)} frames, not {makes}")
        made = tuple(_Parcel(address, receiver, frame) for receiver, frame in answer.frames)
        return _Reply(made, answer.values, lambda: seconds)

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """Hand the frame over."""
        try:
            return self._carry(parcel, receiver)
        except LostDeviceError as error:
            ends = parcel.address.device, receiver.device
            self._take_as_lost(error, *ends, _missing(parcel))
            return _Parcel(receiver, receiver.device, b"", parcel.task, error)

    def _carry(self, parcel: Parcel, receiver: Address) -> Parcel:
        frame = _frame_of(parcel)
        assert isinstance(parcel, _Parcel)
        if parcel.receiver != receiver.device:
            raise RunError(f"a frame for {parcel.receiver} was to be sent to {receiver.device}")
        sender = parcel.address.device
        if self._tap is not None:
            frame = self._tap(sender, receiver.device, frame) or frame
        self.meter.count(sender, receiver.device, frame)
        return _Parcel(receiver, receiver.device, frame, parcel.task)

    def put(self, frame: Buffer, receiver: Address) -> Parcel:
        """Name it there."""
        return _Parcel(receiver, receiver.device, frame)

    def fetch(self, parcel: Parcel) -> Buffer:
        """The frame itself."""
        return _frame_of(parcel)

    def together(self, tasks: Sequence[Callable[[Engine], Outcome]]) -> list[Outcome]:
        """One after the other."""
        return [task(self) for task in tasks]

    @contextmanager
    def bear(self, devices: Collection[str]) -> Iterator[Mapping[str, LostDeviceError]]:
        """Nothing is lost within one process; but see ``_take_as_lost``."""
        before = self._borne, self._losses
        self._borne, self._losses = frozenset(devices), {}
        try:
            yield self._losses
        finally:
            self._borne, self._losses = before

    def heed(self, devices: Collection[str]) -> None:
        """Whatever is lost is found when it is asked."""

    def _take_as_lost(self, error: LostDeviceError, *involved: str | None) -> None:
        """For engines whose devices can be taken away: raises ``error`` unless it is borne."""
        device = str(error.where)
        if device not in self._borne or device not in involved:
            raise error
        self._losses.setdefault(device, error)

    def settle(self) -> None:
        """Every call was waited for."""

    def watch(self) -> frozenset[str]:
        """Nothing is lost within one process."""
        return frozenset()

    def release(self, device: str) -> None:
        """Forget its services."""
        self._services = {a: each for a, each in self._services.items() if a.device != device}

    def states(self) -> Mapping[str, DeviceState]:
        """Whoever is asked answers at once; one device computes at a time."""
        busy, calls = self._computing, dict(self._calls)
        return {
            device: DeviceState("computing" if device == busy else "idle", 0.0, calls[device])
            for device in sorted(calls)
        }

    def news(self) -> Mapping[str, News]:
        """The devices' logs."""
        return {device: News(log.take()) for device, log in sorted(self._logs.items())}

    def differences(self) -> Mapping[str, str]:
        """None: all are of this process."""
        return {}

    def reach(self, devices: Collection[str]) -> frozenset[str]:
        """All of them."""
        return frozenset(devices)

    def close(self) -> None:
        """Forget all services and models."""
        self._services.clear()
        self._workshop = _new_workshop(self)

    def _timed(
        self, address: Address, method: str, arguments: Sequence[Any]
    ) -> tuple[Answer, float]:
        called, log = self._method(address, method), self._log(address.device)
        doing = f"{address.service}.{method}"
        before, self._computing = self._computing, address.device  # a service may call others
        started = time.perf_counter()
        try:
            with self.bear(()):  # and says for itself whom it can do without
                answer = computed(address.device, called, *arguments)
        except Exception as error:
            log.failed(doing, error)
            raise
        finally:
            self._computing = before
            self._calls[address.device] = self._calls.get(address.device, 0) + 1
        seconds = time.perf_counter() - started
        log.called(doing, seconds, sum(len(frame) for _, frame in answer.frames))
        return answer, seconds

    def _log(self, device: str) -> DeviceLog:
        if device not in self._logs:
            self._logs[device] = DeviceLog(device, self._log_level, secrets_of(os.environ))
        return self._logs[device]

    def _method(self, address: Address, method: str) -> Callable[..., Answer]:
        service = self._services.get(address)
        found = None if method.startswith("_") else getattr(service, method, None)
        if found is None:
            raise RunError(f"no service {address.service} with {method} on {address.device}")
        called: Callable[..., Answer] = found
        return called


def _frame_of(parcel: Parcel) -> Buffer:
    assert isinstance(parcel, _Parcel)
    if parcel.lost is not None:
        raise parcel.lost
    return parcel.frame


def _missing(parcel: Parcel) -> str | None:
    """Who was lost, so that there is no such frame."""
    assert isinstance(parcel, _Parcel)
    return None if parcel.lost is None else parcel.lost.where


def _new_workshop(engine: Engine) -> Workshop:
    # Services speak to engines; so the engine that builds them learns of them last.
    from gaisnet.executor.workshop import Workshop

    return Workshop(engine)
