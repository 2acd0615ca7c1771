"""Calls that were issued, and the parcels and replies that wait for them when they are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gaisnet.executor.engines.base import Address, Parcel
from gaisnet.executor.engines.ray.messages import Failure, Made, Receipt

__all__ = ["Call", "RayParcel", "RayReply", "Wait"]


@dataclass(eq=False, slots=True)
class Call:
    """Something that a device was asked to do."""

    device: str
    doing: str
    """For messages to people."""
    ref: Any
    """Ray's, to its receipt."""
    starts: bool = False
    """Whether it loads a model or data, and so may take long."""
    spoil: Callable[[Failure], None] | None = None
    """Tells whoever waits for its frame that it will not come."""
    halt: Callable[[], None] | None = None
    """Tells whoever issues calls in the course of it that to go on is in vain."""
    receiver: str | None = None
    """Device that has to take the frame, if it sends one."""
    borne: frozenset[str] = frozenset()
    """Devices for whose loss it may come to nothing."""
    receipt: Receipt | None = None
    """What came of it, once that is known."""

    def is_hit_by(self, device: str) -> bool:
        """Whether it comes to nothing by itself when that device is lost."""
        return device in (self.device, self.receiver)


Wait = Callable[[Call], Receipt]
"""Returns a call's receipt when it is there, or raises."""


@dataclass(eq=False, slots=True)
class RayParcel:
    """A frame at a device."""

    address: Address
    token: str
    made: Callable[[], Made | None]
    """Waits until the frame is made; none if that failed."""
    task: int | None = None

    @property
    def frame_bytes(self) -> int:
        """Waits until the frame is made."""
        return _size(self.made())

    def size(self) -> Callable[[], int]:
        """Waits when it is called."""
        made = self.made
        return lambda: _size(made())


class RayReply:
    """The outcome of a call, which reading it waits for."""

    def __init__(
        self, call: Call, wait: Wait, address: Address, token: str, makes: int | None
    ) -> None:
        self._call, self._wait, self._address, self._token = call, wait, address, token
        self._makes = makes
        self._parcels: tuple[Parcel, ...] | None = None
        self.task: int | None = None

    @property
    def parcels(self) -> tuple[Parcel, ...]:
        """Waits if their number was not promised."""
        if self._parcels is None:
            count = len(self._receipt().made) if self._makes is None else self._makes
            self._parcels = tuple(self._parcel(place) for place in range(count))
        return self._parcels

    @property
    def values(self) -> Mapping[str, Any]:
        """Waits."""
        receipt = self._receipt()
        if receipt.failure is not None:
            raise receipt.failure.error()
        values: dict[str, Any] = json.loads(receipt.values)
        return values

    @property
    def work_s(self) -> Callable[[], float | None]:
        """Waits when it is asked."""
        call, wait = self._call, self._wait
        return lambda: wait(call).work_s

    def _receipt(self) -> Receipt:
        return self._wait(self._call)

    def _parcel(self, place: int) -> RayParcel:
        return RayParcel(self._address, f"{self._token}.{place}", lambda: self._made(place))

    def _made(self, place: int) -> Made | None:
        made = self._receipt().made
        return made[place] if place < len(made) else None


def _size(made: Made | None) -> int:
    return 0 if made is None else made.frame_bytes
