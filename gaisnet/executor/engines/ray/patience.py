"""How long whoever runs a plan waits, and for what."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Patience"]

_LEAST_S = 2.0
_STEPS = 3.0
_SLOW = 10.0
_START_S = 300.0


@dataclass(frozen=True, slots=True)
class Patience:
    """Bounds of every wait, in seconds.

    A device that computes still answers at once that it is alive. So silence is judged by
    ``silence_s`` however long a computation takes, and a computation by ``work_s``.
    """

    silence_s: float = _LEAST_S
    """A device that does not answer for so long is lost."""
    work_s: float = 3600.0
    """No call takes longer."""
    start_s: float = _START_S
    """A device has so long to start its process, and to load its model and data."""

    @property
    def frame_s(self) -> float:
        """How long a device waits for a frame: others may have to compute many times first."""
        return 10 * self.work_s

    @classmethod
    def of(cls, step_s: float, factor: float = 1.0, *, simulated: bool = False) -> Patience:
        """From the plan's time for a step: three steps or two seconds, whichever is longer.

        Of that a call may take ten times as much.

        Args:
            step_s: Planned seconds of one local step.
            factor: Of all bounds, for machines that are busy otherwise.
            simulated: The devices are not those that the plan means, so that its times say
                nothing of how long they compute.
        """
        bound_s = factor * max(_LEAST_S, _STEPS * step_s)
        start_s = _START_S * max(1.0, factor)
        if simulated:
            return cls(silence_s=bound_s, start_s=start_s)
        return cls(silence_s=bound_s, work_s=_SLOW * bound_s, start_s=start_s)
