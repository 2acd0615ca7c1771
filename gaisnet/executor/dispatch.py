"""Issues calls and frames to an engine, and tells an observer what each of them was.

The algorithms speak to a ``Dispatcher`` alone; keeping virtual time is the observer's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gaisnet.executor.engines.base import Address, Engine, Parcel, Reply
from gaisnet.executor.frames import Buffer

__all__ = ["Direction", "Dispatcher", "Measured", "Observer", "Work"]

Measured = Callable[[], float | None]
"""Tells seconds, or that nobody knows them."""
Direction = Literal["forward", "backward", "turn", "update"]
"""``turn``: forward and backward at once, as the last stage does; ``update``: the step."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a call computes."""

    direction: Direction
    first_unit: int
    last_unit: int
    samples: int


class Observer(Protocol):
    """Keeps account of tasks; ``after`` are the ids of those that must be done before."""

    def computed(self, device: str, work: Work, after: Sequence[int], measured_s: Measured) -> int:
        """A device computed; returns the task's id. How long it took may be asked for later."""

    def moved(self, sender: str, receiver: str, frame_bytes: int, after: Sequence[int]) -> int:
        """A frame went over a link; returns the task's id."""

    def waited(self, after: Sequence[int]) -> int:
        """Something that takes no time happened after ``after``; returns the task's id."""


_Entry = Callable[[Observer, Sequence[int]], int]
"""Tells an observer of a task, given its ids of those before, and returns its id."""


class Dispatcher:
    """An engine, with dependencies kept for an observer.

    A call depends on the frames that it takes, on the calls before it that have a key in common
    with it (a stage does one thing after the other), and on what was read in its scope: whoever
    runs the algorithm goes on only when it has read.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._observer: Observer | None = None
        self._journal: list[_Entry] = []
        self._last: dict[tuple[Address, str], int] = {}
        self._scope: str | None = None
        self._read: dict[str, int] = {}

    def observe(self, observer: Observer | None) -> None:
        """Keep account with ``observer`` from now on; nothing before it counts.

        The one before is told now of all that was issued since: while an engine is at work,
        nobody waits to learn how large a frame is.
        """
        if self._observer is not None:
            _tell(self._observer, self._journal)
        self._observer, self._journal = observer, []
        self._last.clear()
        self._read.clear()

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """What is called within belongs to one thread of the algorithm, e.g. to a cluster."""
        outer, self._scope = self._scope, name
        try:
            yield
        finally:
            self._scope = outer

    def read(self, reply: Reply) -> Mapping[str, Any]:
        """The values of a reply; later calls of the scope are issued when they are there."""
        if self._scope is not None and reply.task is not None:
            self._read[self._scope] = self._wait(self._read.get(self._scope), reply.task)
        return reply.values

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = None,
        keys: Sequence[str] = ("",),
        work: Work | None = None,
    ) -> Reply:
        """``Engine.call``; ``keys`` name the parts of the service (stages) that it concerns."""
        reply = self.engine.call(address, method, *arguments, parcels=parcels, makes=makes)
        if self._observer is not None:
            self._note(address, parcels, keys, work, reply)
        return reply

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """``Engine.send``."""
        sent = self.engine.send(parcel, receiver)
        if self._observer is not None:
            after = _known([parcel.task])
            sender, there, size = parcel.address.device, receiver.device, parcel.size()
            sent.task = self._enter(
                lambda observer, ids: observer.moved(sender, there, size(), _of(ids, after))
            )
        return sent

    def fetch(self, parcel: Parcel) -> Buffer:
        """``Engine.fetch``."""
        return self.engine.fetch(parcel)

    def _note(
        self,
        address: Address,
        parcels: Sequence[Parcel],
        keys: Sequence[str],
        work: Work | None,
        reply: Reply,
    ) -> None:
        before = [self._last.get((address, key)) for key in keys]
        before.append(self._read.get(self._scope or ""))
        after = _known([*(parcel.task for parcel in parcels), *before])
        if work is None:
            task = self._wait(*after)
        else:
            measured_s = reply.work_s
            task = self._enter(
                lambda observer, ids: observer.computed(
                    address.device, work, _of(ids, after), measured_s
                )
            )
        self._last.update({(address, key): task for key in keys})
        reply.task = task
        for parcel in reply.parcels:
            parcel.task = task

    def _wait(self, *before: int | None) -> int:
        after = _known(before)
        return self._enter(lambda observer, ids: observer.waited(_of(ids, after)))

    def _enter(self, entry: _Entry) -> int:
        self._journal.append(entry)
        return len(self._journal) - 1


def _tell(observer: Observer, journal: Sequence[_Entry]) -> None:
    ids: list[int] = []
    for entry in journal:
        ids.append(entry(observer, ids))


def _of(ids: Sequence[int], tasks: Sequence[int]) -> list[int]:
    return [ids[task] for task in tasks]


def _known(tasks: Sequence[int | None]) -> list[int]:
    return [task for task in tasks if task is not None]
