"""Issues calls and frames to an engine, and keeps a journal of what each of them was.

The algorithms speak to a ``Dispatcher`` alone; virtual time is made of the journal, elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from gaisnet.errors import RunError
from gaisnet.executor.engines.base import Address, Engine, LostDeviceError, Parcel, Reply
from gaisnet.executor.frames import Buffer
from gaisnet.executor.journal import Computed, Entry, Journal, Moved, Waited, Work

__all__ = ["Dispatcher"]


class Dispatcher:
    """An engine, with dependencies kept for a journal.

    A call depends on the frames that it takes, on the calls before it that have a key in common
    with it (a stage does one thing after the other), and on what was read: whoever runs the
    algorithm goes on only when it has read.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._recording = False
        self._notes: list[Callable[[], Entry]] = []
        self._last: dict[tuple[Address, str], int] = {}
        self._read: int | None = None

    def record(self) -> None:
        """Keep a journal from now on; nothing before it counts."""
        self._recording, self._notes, self._read = True, [], None
        self._last.clear()

    def journal(self) -> Journal:
        """What was done since ``record``, which ends here.

        Sizes and times are asked for only now: while an engine is at work, nobody waits to learn
        how large a frame is.
        """
        notes, self._notes, self._recording = self._notes, [], False
        last = tuple((a.device, a.service, key, task) for (a, key), task in self._last.items())
        return Journal(tuple(note() for note in notes), last)

    def join(self, journal: Journal) -> None:
        """Take in what somebody else has recorded meanwhile; later calls come after it."""
        if not self._recording:
            return
        base = len(self._notes)
        for entry in journal.entries:
            moved = replace(entry, after=tuple(task + base for task in entry.after))
            self._notes.append(lambda moved=moved: moved)  # type: ignore[misc]
        for device, service, key, task in journal.last:
            place = Address(device, service), key
            known = self._last.get(place)
            self._last[place] = task + base if known is None else self._wait(known, task + base)

    def read(self, reply: Reply) -> Mapping[str, Any]:
        """The values of a reply; later calls are issued when they are there."""
        if reply.task is not None:
            self._read = self._wait(self._read, reply.task)
        return reply.values

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = 0,
        keys: Sequence[str] = ("",),
        work: Work | None = None,
    ) -> Reply:
        """``Engine.call``; ``keys`` name the parts of the service (stages) that it concerns.

        A call makes no frames unless it says how many. If nobody knows (None), the journal has to
        wait until it is done, and so does all that is issued after it.
        """
        reply = self.engine.call(address, method, *arguments, parcels=parcels, makes=makes)
        if self._recording:
            self._note(address, parcels, keys, work, reply)
        return reply

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """``Engine.send``."""
        sent = self.engine.send(parcel, receiver)
        if self._recording:
            sender, there, size = parcel.address.device, receiver.device, parcel.size()
            after = _known(parcel.task)
            sent.task = self._enter(lambda: _moved(sender, there, size(), after))
        return sent

    def fetch(self, parcel: Parcel) -> Buffer:
        """``Engine.fetch``."""
        return self.engine.fetch(parcel)

    def bear(
        self, devices: Collection[str]
    ) -> AbstractContextManager[Mapping[str, LostDeviceError]]:
        """``Engine.bear``."""
        return self.engine.bear(devices)

    def settle(self) -> None:
        """``Engine.settle``."""
        self.engine.settle()

    def _note(
        self,
        address: Address,
        parcels: Sequence[Parcel],
        keys: Sequence[str],
        work: Work | None,
        reply: Reply,
    ) -> None:
        before = [self._last.get((address, key)) for key in keys]
        after = _known(*(parcel.task for parcel in parcels), *before, self._read)
        if work is None:
            task = self._wait(*after)
        else:
            device, work_s = address.device, reply.work_s
            task = self._enter(lambda: Computed(device, work, after, _unless_lost(work_s)))
        self._last.update({(address, key): task for key in keys})
        reply.task = task
        for parcel in reply.parcels:
            parcel.task = task

    def _wait(self, *before: int | None) -> int:
        after = _known(*before)
        return self._enter(lambda: Waited(after))

    def _enter(self, note: Callable[[], Entry]) -> int:
        self._notes.append(note)
        return len(self._notes) - 1


def _known(*tasks: int | None) -> tuple[int, ...]:
    return tuple(task for task in tasks if task is not None)


def _moved(sender: str, receiver: str, frame_bytes: int, after: tuple[int, ...]) -> Entry:
    """A frame that a lost device did not make, or did not take, goes over no link."""
    return Moved(sender, receiver, frame_bytes, after) if frame_bytes else Waited(after)


def _unless_lost(work_s: Callable[[], float | None]) -> float | None:
    """A device that is lost by now tells nothing."""
    try:
        return work_s()
    except RunError:
        return None
