"""An observer that keeps the fleet's time: cost model for durations, virtual clock for queues."""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf

from gaisnet.errors import MismatchError
from gaisnet.executor.dispatch import Work
from gaisnet.executor.simulate import VirtualClock
from gaisnet.planner.cost import CostModel

__all__ = ["FleetClock"]


class FleetClock:
    """Records what a round did, each task with the time that the fleet's devices and links take.

    Args:
        cost: The figures that the plan was made with.
    """

    def __init__(self, cost: CostModel) -> None:
        self._cost = cost
        self._clock = VirtualClock()

    def computed(self, device: str, work: Work, after: Sequence[int]) -> int:
        """A pass of some units on a device, or their optimizer's step."""
        span = device, work.first_unit, work.last_unit
        seconds = 0.0
        if work.direction in ("forward", "turn"):
            seconds += self._cost.forward_s(*span, work.samples)
        if work.direction in ("backward", "turn"):
            seconds += self._cost.backward_s(*span, work.samples)
        if work.direction == "update":
            seconds = self._cost.update_s(*span)
        return self._clock.compute(device, seconds, after)

    def moved(self, sender: str, receiver: str, frame_bytes: int, after: Sequence[int]) -> int:
        """A frame, its header included, on a link.

        Raises:
            MismatchError: The fleet has no such link.
        """
        seconds = self._cost.transfer_s(sender, receiver, frame_bytes)
        if isinf(seconds):
            raise MismatchError(
                f"the plan sends from {sender} to {receiver}, but the fleet has no link there",
                hint="make a new plan with `gaisnet plan`",
            )
        return self._clock.transfer(sender, receiver, seconds, after)

    def waited(self, after: Sequence[int]) -> int:
        """A point in time, e.g. an average being complete."""
        return self._clock.delay(0.0, after)

    def elapsed_s(self) -> float:
        """Virtual seconds from the first task to the end of the last."""
        return self._clock.replay().makespan_s
