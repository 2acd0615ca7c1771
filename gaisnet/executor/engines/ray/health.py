"""Finds out which devices are lost: ended, frozen, cut off, or far too slow."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, Literal

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError

from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.engines.ray.patience import Patience
from gaisnet.schema.watch import DeviceState

__all__ = ["ENDED", "GONE", "Health", "why_gone"]

ENDED = "its process has ended"
GONE = (RayActorError, OutOfMemoryError)
"""What Ray raises where a process is there no more; it ends some itself, when memory is short."""

_LOOK_EVERY_S = 0.2
"""Whoever waits for devices looks so often at least."""
_PARTS = 8
"""A device is asked so often within the time in which it has to answer."""


class Health:
    """Asks devices whether they are alive, and remembers those that are not.

    Args:
        patience: How long they have to answer.
    """

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        """May change: what it says holds from the next look on."""
        self._actors: dict[str, Any] = {}
        self._asked: dict[str, tuple[Any, float]] = {}
        self._answered_s: dict[str, float] = {}
        self._lost: dict[str, str] = {}
        self._looked_s = time.monotonic()
        self._busy: set[str] = set()
        self._calls: dict[str, int] = {}

    @property
    def lost(self) -> Mapping[str, str]:
        """Devices that are lost, and why."""
        return self._lost

    @property
    def present(self) -> frozenset[str]:
        """Devices that are not known to be lost."""
        return frozenset(self._actors.keys() - self._lost.keys())

    def add(self, device: str, actor: Any) -> None:
        """Look after a device whose process has started."""
        self._actors[device] = actor
        self.heard(device)
        self._lost.pop(device, None)
        self._asked.pop(device, None)

    def heard(self, device: str) -> None:
        """A device has done something."""
        self._answered_s[device] = time.monotonic()

    def states(self) -> dict[str, DeviceState]:
        """What is known of all devices."""
        now, calls = time.monotonic(), self._calls
        return {
            device: DeviceState(self._state(device, now), now - heard_s, calls.get(device, 0))
            for device, heard_s in sorted(self._answered_s.copy().items())
        }

    def _state(self, device: str, now: float) -> Literal["idle", "computing", "silent", "lost"]:
        if device in self._lost:
            return "lost"
        asked = self._asked.get(device)
        if asked is not None and now - asked[1] > self.patience.silence_s / _PARTS:
            return "silent"
        return "computing" if device in self._busy else "idle"

    def lose(self, device: str, why: str) -> None:
        """A device is known to be lost."""
        self._lost.setdefault(device, why)

    def error(self, device: str) -> LostDeviceError:
        """What is to be said of a lost device."""
        return LostDeviceError(
            f"device {device} is lost: {self._lost[device]}",
            where=device,
            hint="start it again, or make a plan without it",
        )

    def check(self, devices: Collection[str], starting: Collection[str]) -> None:
        """See to some devices that are to do something.

        Args:
            devices: Their ids.
            starting: Those of them that load models or data, which may take long.

        Raises:
            LostDeviceError: One of them is lost.
        """
        self._forgive()
        for device in devices:
            if device not in self._lost:
                self._check(device, device in starting)
            if device in self._lost:
                raise self.error(device)

    def survey(self) -> frozenset[str]:
        """Devices that are lost, after asking all: what they had answered before says nothing."""
        self._forgive()
        since = time.monotonic()
        for device in sorted(self.present):
            self._check(device, starting=True)
        for device in sorted(self.present - self._asked.keys()):
            self._ask(device, since)
        waiting = set(self.present)
        while waiting:
            ray.wait([self._asked[device][0] for device in waiting], timeout=_LOOK_EVERY_S)
            self._forgive()
            for device in sorted(waiting):
                self._check(device, starting=True)
            waiting &= self._asked.keys() - self._lost.keys()
        return frozenset(self._lost)

    def _check(self, device: str, starting: bool) -> None:
        now, limit_s = time.monotonic(), self.patience.silence_s
        if device not in self._asked:
            if now - self._answered_s[device] >= limit_s / _PARTS:
                self._ask(device, now)
            return
        ref, asked_s = self._asked[device]
        if ray.wait([ref], timeout=0)[0]:
            del self._asked[device]
            self._take_answer(device, ref, starting)
        elif now - asked_s > limit_s * (1 - 1 / _PARTS) - 2 * _LOOK_EVERY_S:
            # It had answered for the last time a part before, and was asked and seen a look late.
            self._lost[device] = f"it has not answered for {limit_s:.3g} s"

    def _forgive(self) -> None:
        """Time in which nobody looked (this process computed, or was itself stopped) does not
        count: an answer may be there without having been taken in."""
        now = time.monotonic()
        paused_s = now - self._looked_s - 2 * _LOOK_EVERY_S
        if paused_s > 0.0:
            asked = self._asked.items()
            self._asked = {device: (ref, at_s + paused_s) for device, (ref, at_s) in asked}
        self._looked_s = now

    def _ask(self, device: str, now: float) -> None:
        self._asked[device] = self._actors[device].pulse.remote(), now

    def _take_answer(self, device: str, ref: Any, starting: bool) -> None:
        try:
            busy_s, self._calls[device] = ray.get(ref, timeout=_LOOK_EVERY_S)
        except GONE as error:
            self._lost[device] = why_gone(error)
            return
        except RayError as error:
            self._lost[device] = f"it cannot be asked: {error}"
            return
        self.heard(device)
        (self._busy.add if busy_s > 0 else self._busy.discard)(device)
        limit_s = self.patience.start_s if starting else self.patience.work_s
        if busy_s > limit_s:
            self._lost[device] = f"it has computed for {busy_s:.3g} s, and {limit_s:.3g} s is long"


def why_gone(error: RayError) -> str:
    """Why a process is there no more, for people; Ray's own words are pages."""
    short = isinstance(error, OutOfMemoryError)
    return f"{ENDED}: its machine ran out of memory" if short else ENDED
