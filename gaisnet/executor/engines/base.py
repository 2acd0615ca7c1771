"""What an engine does for the algorithms: put services on devices, call them, carry frames.

Frames stay on the devices: whoever runs the algorithm handles parcels (names of frames) and small
answers only, and frames go from device to device. An engine may work asynchronously: ``call``
and ``send`` return at once, calls of one service run in the order in which they were issued, each
after the frames that it takes have arrived, and only reading ``Reply.values`` waits. No wait is
without a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gaisnet.executor.frames import Buffer
from gaisnet.executor.meter import Meter

__all__ = ["Address", "Answer", "Engine", "Parcel", "Reply"]

Value = float | int | str | None


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A service on a device, e.g. the ``holder`` of ``phone-3``."""

    device: str
    service: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service returns from a call."""

    frames: tuple[tuple[str, Buffer], ...] = ()
    """Frames it made, each with the device that it is for."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """A few small figures for whoever runs the algorithm; never activations or modules."""


@dataclass(slots=True)
class Parcel:
    """A frame that lies on a device, by the engine's own reference to it."""

    address: Address
    """Where it lies."""
    receiver: str
    """Device that it was made for."""
    frame: Any
    """The engine's."""
    frame_bytes: int
    task: int | None = None
    """The task on the virtual clock that made or moved it."""


@dataclass(slots=True)
class Reply:
    """The outcome of a call."""

    parcels: tuple[Parcel, ...]
    """Frames that the service made; they lie on its device."""
    values: Mapping[str, Any]
    """An engine may wait here until the call is done."""
    task: int | None = None
    """The call's task on the virtual clock."""


class Engine(Protocol):
    """See the module's docstring; ``engines.local`` is the reference."""

    @property
    def name(self) -> str:
        """What the engine is called on the command line."""

    @property
    def meter(self) -> Meter:
        """Counts what ``send`` carries over links."""

    def place(self, address: Address, make: Callable[[], object]) -> None:
        """Start a service on a device; its public methods take frames and return ``Answer``.

        Raises:
            RunError: The device cannot take it.
        """

    def call(
        self, address: Address, method: str, *arguments: Any, parcels: Sequence[Parcel] = ()
    ) -> Reply:
        """Call a service's method with ``arguments`` and then the frames of ``parcels``.

        Raises:
            RunError: The service is not there, or failed.
        """

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """Carry a frame to another service (metered), and name it there.

        Raises:
            RunError: The frame was made for another device, or the receiver is lost.
        """

    def fetch(self, parcel: Parcel) -> Buffer:
        """A frame's bytes, for whoever runs the algorithm: checkpoints and adapters, unmetered.

        Raises:
            RunError: The device is lost.
        """

    def watch(self) -> frozenset[str]:
        """Devices that are lost."""

    def close(self) -> None:
        """Stop all services; nothing is left behind."""
