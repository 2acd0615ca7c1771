"""The engine as a service on a device has it: it reaches the other devices without the driver."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import Blueprint, ModelSource
from gaisnet.executor.engines.base import Address, Engine, News, Outcome
from gaisnet.executor.engines.ray.health import Health
from gaisnet.executor.engines.ray.issuer import Issuer
from gaisnet.executor.engines.ray.ledger import HaltedError, Ledger
from gaisnet.executor.engines.ray.patience import Patience
from gaisnet.models import FoundationModel
from gaisnet.schema.watch import DeviceState

__all__ = ["PeerEngine"]

Halted = Callable[[], bool]


class PeerEngine(Issuer):
    """Calls other devices' services; placing them is the driver's business.

    Args:
        lane: Name of the order of its calls.
        actors: Handles of all devices' processes.
        patience: Bounds of all waits.
        halted: Tells whether to go on is in vain: something else of the run has failed.
    """

    def __init__(
        self, lane: str, actors: Mapping[str, Any], patience: Patience, halted: Halted
    ) -> None:
        health = Health(patience)
        for device, actor in actors.items():
            health.add(device, actor)
        super().__init__(lane, actors, patience, Ledger(health, halted))
        self._health, self._halted = health, halted
        self._names, self._seats = itertools.count(), dict[int, PeerEngine]()
        self._failed = False

    def set_patience(self, patience: Patience) -> None:
        """Other bounds for all that is waited for from now on."""
        self._patience = self._health.patience = patience
        self._seats.clear()  # they have the bounds that they were made with

    def meet(self, actors: Mapping[str, Any]) -> None:
        """Other processes stand for the devices from now on."""
        self._actors = dict(actors)
        self._seats.clear()

    def lose(self, device: str, why: str) -> None:
        """A device is lost, as somebody else has found; for what is done ``together`` now."""
        for seat in list(self._seats.values()):
            seat._health.lose(device, why)

    def lend(self, source: ModelSource, model: FoundationModel) -> None:
        """Devices have their own."""

    def place(self, address: Address, blueprint: Blueprint) -> None:
        """Raises RunError."""
        raise RunError(f"{blueprint.kind} cannot be placed from a device", where=address.device)

    def together(self, tasks: Sequence[Callable[[Engine], Outcome]]) -> list[Outcome]:
        """All at once, each in a thread of its own; when one fails, the others are halted."""
        self._failed = False
        lanes = [self._seat(place) for place in range(len(tasks))]
        with ThreadPoolExecutor(max(1, len(tasks))) as pool:
            done = [pool.submit(task, lane) for task, lane in zip(tasks, lanes, strict=True)]
            for future in done:
                future.add_done_callback(self._note)
        if self._failed:
            self._seats.clear()  # what they had asked for may never be done
            _raise_first(done)
        for lane in lanes:
            self.meter.put(lane.meter.take())
        return [future.result(timeout=0) for future in done]

    def watch(self) -> frozenset[str]:
        """Ask all devices."""
        return self._health.survey()

    def reach(self, devices: Collection[str]) -> frozenset[str]:
        """None: placing is the driver's business."""
        return frozenset()

    def release(self, device: str) -> None:
        """Raises RunError: whom to let go is for the driver to say."""
        raise RunError(f"{device} cannot be let go from another device", where=device)

    def states(self) -> Mapping[str, DeviceState]:
        """What was heard of all devices."""
        return self._health.states()

    def news(self) -> Mapping[str, News]:
        """None: devices tell the driver."""
        return {}

    def differences(self) -> Mapping[str, str]:
        """None: the driver asks for them."""
        return {}

    def close(self) -> None:
        """The processes are the driver's."""

    def _seat(self, place: int) -> PeerEngine:
        if place not in self._seats:
            name = f"{self._lane}/{next(self._names)}"
            self._seats[place] = PeerEngine(name, self._actors, self._patience, self._is_halted)
        return self._seats[place]

    def _is_halted(self) -> bool:
        return self._failed or self._halted()

    def _note(self, done: Future[Any]) -> None:
        self._failed = self._failed or done.exception(timeout=0) is not None


def _raise_first(done: Iterable[Future[Any]]) -> None:
    """What failed by itself, rather than what was halted because of it."""
    failures = [failure for future in done if (failure := future.exception(timeout=0)) is not None]
    own = [failure for failure in failures if not isinstance(failure, HaltedError)]
    for failure in own or failures:
        raise failure
