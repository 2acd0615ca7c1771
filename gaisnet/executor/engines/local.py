"""The embedded engine: all devices in this process, every message still a real frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gaisnet.errors import RunError
from gaisnet.executor.engines.base import Address, Answer, Parcel, Reply
from gaisnet.executor.frames import Buffer
from gaisnet.executor.meter import Meter

__all__ = ["LocalEngine"]

Tap = Callable[[str, str, Buffer], None]
"""Is shown sender, receiver and frame."""


class LocalEngine:
    """Runs services in this process, one call after the other."""

    name = "local"

    def __init__(self, tap: Tap | None = None) -> None:
        """``tap`` sees every frame that a service made for another, also within a device."""
        self.meter = Meter()
        self._tap = tap
        self._services: dict[Address, object] = {}

    def place(self, address: Address, make: Callable[[], object]) -> None:
        """Build the service."""
        self._services[address] = make()

    def call(
        self, address: Address, method: str, *arguments: Any, parcels: Sequence[Parcel] = ()
    ) -> Reply:
        """Call and wait."""
        for parcel in parcels:
            if parcel.address != address:
                raise RunError(f"{address} was given a frame that lies at {parcel.address}")
        answer = self._method(address, method)(*arguments, *(p.frame for p in parcels))
        made = tuple(
            Parcel(address, receiver, frame, len(frame)) for receiver, frame in answer.frames
        )
        return Reply(made, answer.values)

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """Hand the frame over."""
        if parcel.receiver != receiver.device:
            raise RunError(f"a frame for {parcel.receiver} was to be sent to {receiver.device}")
        sender = parcel.address.device
        if self._tap is not None:
            self._tap(sender, receiver.device, parcel.frame)
        self.meter.count(sender, receiver.device, parcel.frame)
        return Parcel(receiver, receiver.device, parcel.frame, parcel.frame_bytes, parcel.task)

    def fetch(self, parcel: Parcel) -> Buffer:
        """The frame itself."""
        frame: Buffer = parcel.frame
        return frame

    def watch(self) -> frozenset[str]:
        """Nothing is lost within one process."""
        return frozenset()

    def close(self) -> None:
        """Forget all services."""
        self._services.clear()

    def _method(self, address: Address, method: str) -> Callable[..., Answer]:
        service = self._services.get(address)
        found = None if method.startswith("_") else getattr(service, method, None)
        if found is None:
            raise RunError(f"no service {address.service} with {method} on {address.device}")
        called: Callable[..., Answer] = found
        return called
