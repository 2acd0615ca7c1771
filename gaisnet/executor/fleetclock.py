"""The fleet's time of what was done: cost model for durations, virtual clock for queues."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple
from math import fsum, isinf

from gaisnet.errors import MismatchError
from gaisnet.executor.journal import Computed, Entry, Journal, Moved, Work
from gaisnet.executor.simulate import VirtualClock
from gaisnet.planner.cost import CostModel
from gaisnet.schema.run import MoveTime, WorkTime

__all__ = ["FleetClock"]


class FleetClock:
    """Records what a round did, each task with the time that the fleet's devices and links take.

    Args:
        cost: The figures that the plan was made with.
    """

    def __init__(self, cost: CostModel) -> None:
        self._cost = cost
        self._clock = VirtualClock()
        self._passes: list[tuple[str, Work, float, float | None]] = []
        self._frames: list[tuple[str, str, int, float]] = []

    def keep(self, journal: Journal) -> None:
        """Take in what was done.

        Raises:
            MismatchError: The fleet has no link for a frame.
        """
        ids: list[int] = []
        for entry in journal.entries:
            ids.append(self._task(entry, [ids[task] for task in entry.after]))

    def _task(self, entry: Entry, after: Sequence[int]) -> int:
        if isinstance(entry, Computed):
            return self._computed(entry, after)
        if isinstance(entry, Moved):
            return self._moved(entry, after)
        return self._clock.delay(0.0, after)  # a point in time, e.g. an average being complete

    def _computed(self, entry: Computed, after: Sequence[int]) -> int:
        """A pass of some units on a device, or their optimizer's step."""
        work = entry.work
        span = work.first_unit, work.last_unit
        seconds = self._cost.work_s(entry.device, work.direction, *span, work.samples)
        self._passes.append((entry.device, work, seconds, entry.measured_s))
        return self._clock.compute(entry.device, seconds, after)

    def _moved(self, entry: Moved, after: Sequence[int]) -> int:
        """A frame, its header included, on a link."""
        sender, receiver, frame_bytes = entry.sender, entry.receiver, entry.frame_bytes
        seconds = self._cost.transfer_s(sender, receiver, frame_bytes)
        if isinf(seconds):
            raise MismatchError(
                f"the plan sends from {sender} to {receiver}, but the fleet has no link there",
                hint="make a new plan with `gaisnet plan`",
            )
        self._frames.append((sender, receiver, frame_bytes, seconds))
        return self._clock.transfer(sender, receiver, seconds, after)

    def elapsed_s(self) -> float:
        """Virtual seconds from the first task to the end of the last."""
        return self._clock.replay().makespan_s

    def work(self) -> tuple[WorkTime, ...]:
        """What every device computed, passes of the same kind together."""
        groups: defaultdict[tuple[str, Work], list[tuple[float, float | None]]] = defaultdict(list)
        for device, work, seconds, measured_s in self._passes:
            groups[device, work].append((seconds, measured_s))
        return tuple(
            _work_time(*key, groups[key])
            for key in sorted(groups, key=lambda k: (k[0], astuple(k[1])))
        )

    def moves(self) -> tuple[MoveTime, ...]:
        """What every link carried, frames of the same size together; none within a device."""
        groups: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)
        for sender, receiver, frame_bytes, seconds in self._frames:
            if sender != receiver:
                groups[sender, receiver, frame_bytes].append(seconds)
        return tuple(
            MoveTime(
                sender=sender,
                receiver=receiver,
                frame_bytes=size,
                times=len(seconds),
                virtual_s=fsum(seconds),
            )
            for (sender, receiver, size), seconds in sorted(groups.items())
        )


def _work_time(device: str, work: Work, times: list[tuple[float, float | None]]) -> WorkTime:
    measured = [wall_s for _, wall_s in times if wall_s is not None]
    return WorkTime(
        device=device,
        direction=work.direction,
        first_unit=work.first_unit,
        last_unit=work.last_unit,
        samples=work.samples,
        times=len(times),
        virtual_s=fsum(seconds for seconds, _ in times),
        wall_s=fsum(measured) if len(measured) == len(times) else None,
    )
