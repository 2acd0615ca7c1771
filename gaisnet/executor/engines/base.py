"""What an engine does for the algorithms: put services on devices, call them, carry frames.

Frames stay on the devices: whoever runs the algorithm handles parcels (names of frames) and small
answers only, and frames go from device to device. An engine may work asynchronously: ``call``
and ``send`` return at once, calls of one service run in the order in which they were issued, each
after the frames that it takes have arrived, and only what is read of a reply or a parcel waits.
An error may surface at any later wait. No wait is without a bound.

A lost device fails whatever is asked of it, and all that was issued with it. Where the algorithm
can do without some devices it says so (``bear``): what a lost one was to do comes to nothing then,
and so does what takes frames of its, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import Blueprint, ModelSource
from gaisnet.executor.frames import Buffer
from gaisnet.executor.meter import Meter
from gaisnet.models import FoundationModel
from gaisnet.schema.watch import DeviceState

__all__ = [
    "Address",
    "Answer",
    "DepartedError",
    "Engine",
    "LostDeviceError",
    "News",
    "Parcel",
    "Reply",
]

Outcome = TypeVar("Outcome")


class LostDeviceError(RunError):
    """A device is lost: it ended, is cut off, does not answer or is far too slow.

    ``where`` is its id.
    """


class DepartedError(LostDeviceError):
    """A device has left because it wanted to, between two rounds; nothing is wrong with it."""


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


@dataclass(frozen=True, slots=True)
class News:
    """What a device has to say beside answers."""

    lines: tuple[str, ...] = ()
    """Of its log, since it was last asked: JSON, as ``executor.devicelog`` writes it."""
    leaving: bool = False
    """Whether it wants to take part no longer."""


class Parcel(Protocol):
    """A frame that lies on a device; it is sent, taken by a call or fetched once."""

    task: int | None
    """The task on the virtual clock that made or moved it."""

    @property
    def address(self) -> Address:
        """Where it lies."""

    @property
    def frame_bytes(self) -> int:
        """Its size; an engine may wait here until the frame is made."""

    def size(self) -> Callable[[], int]:
        """What gives ``frame_bytes`` later, without keeping the frame itself."""


class Reply(Protocol):
    """The outcome of a call."""

    task: int | None
    """The call's task on the virtual clock."""

    @property
    def work_s(self) -> Callable[[], float | None]:
        """Tells how long the service worked on the call, by its device's clock, if that is known.

        An engine may wait there until the call is done. What is returned keeps no frame alive.
        """

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """Frames that the service made; they lie on its device.

        An engine may wait here until the call is done, unless their number was promised.
        """

    @property
    def values(self) -> Mapping[str, Any]:
        """An engine may wait here until the call is done."""


class Engine(Protocol):
    """See the module's docstring; ``engines.local`` is the reference."""

    @property
    def name(self) -> str:
        """What the engine is called on the command line."""

    @property
    def meter(self) -> Meter:
        """Counts what ``send`` carries over links."""

    def lend(self, source: ModelSource, model: FoundationModel) -> None:
        """Services of this process, if there are any, may use a model that is loaded already."""

    def place(self, address: Address, blueprint: Blueprint) -> None:
        """Start a service on a device, in place of any that is there.

        Its public methods take what JSON can say and frames, and return ``Answer``.

        Raises:
            RunError: The device cannot take it.
            ModelError: Its model cannot be loaded there.
            MismatchError: Its model is another one there.
        """

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = None,
    ) -> Reply:
        """Call a service's method with ``arguments`` and then the frames of ``parcels``.

        Args:
            address: The service.
            method: Its name.
            arguments: What JSON can say, dataclasses and blueprints among it.
            parcels: They must lie at the service's device.
            makes: How many frames the caller counts on: it need not wait to go on with them.

        Raises:
            LostDeviceError: The device is lost.
            RunError: The service is not there, failed, or made another number of frames.
        """

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """Carry a frame to another service (metered), and name it there.

        Raises:
            RunError: The frame was made for another device, or the receiver is lost.
        """

    def put(self, frame: Buffer, receiver: Address) -> Parcel:
        """Lay a frame of whoever runs the algorithm at a service, unmetered.

        Raises:
            RunError: The device is lost.
        """

    def fetch(self, parcel: Parcel) -> Buffer:
        """A frame's bytes, for whoever runs the algorithm: checkpoints and adapters, unmetered.

        Raises:
            RunError: The device is lost.
        """

    def together(self, tasks: Sequence[Callable[[Engine], Outcome]]) -> list[Outcome]:
        """Do several things at the same time, as far as the engine can.

        Each is given an engine whose calls are in an order of their own; what it carries is
        counted here. Of those that fail the first one's error is raised, when all have ended.

        Raises:
            GaisnetError: Whatever failed.
        """

    def bear(
        self, devices: Collection[str]
    ) -> AbstractContextManager[Mapping[str, LostDeviceError]]:
        """Do without any of ``devices`` that is lost, in what is issued within the context.

        Calls and frames of a lost one come to nothing, and so does all that builds on them; frames
        that nobody made have no bytes. What others were to do before must come about all the
        same, and an error of another kind, or of another device, is raised as ever. Contexts of
        one engine do not nest; a service that issues calls of its own says for itself what it can
        bear.

        Returns:
            A context, whose value has those that were lost so far; it is complete when all is
            settled, as it is when the context ends without an error.
        """

    def heed(self, devices: Collection[str]) -> None:
        """Find the loss of these from now on, while anything is under way, even if that is
        nothing of theirs; and no longer that of those that were named before."""

    def settle(self) -> None:
        """Wait until all that was issued is done.

        Raises:
            GaisnetError: Whatever failed.
        """

    def watch(self) -> frozenset[str]:
        """Devices that are lost."""

    def release(self, device: str) -> None:
        """Let a device go: its services end, and from now on it counts as lost."""

    def states(self) -> Mapping[str, DeviceState]:
        """How the devices are, as far as is known without asking; from any thread."""

    def news(self) -> Mapping[str, News]:
        """What devices have to say; of one that does not answer there is none."""

    def differences(self) -> Mapping[str, str]:
        """Devices that run something in another version than this process, so that the same bits
        cannot be promised, each with what is to be said of it."""

    def reach(self, devices: Collection[str]) -> frozenset[str]:
        """Those of some devices of the fleet on which services can be placed."""

    def close(self) -> None:
        """Stop all services; nothing is left behind."""
