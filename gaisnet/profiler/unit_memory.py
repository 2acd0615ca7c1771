"""What each unit keeps for the backward pass and needs for a moment, without allocating it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from gaisnet.models.foundation import FoundationModel
from gaisnet.profiler.passage import Listener, Phase
from gaisnet.profiler.storages import StorageTracker

__all__ = ["MemoryWatch", "UnitMemory", "units_memory"]


@dataclass(frozen=True)
class UnitMemory:
    """Bytes of one unit and one sample."""

    saved_bytes: int
    """Alive from the unit's forward to its backward pass."""
    working_bytes: int
    """Most bytes alive for a moment in either pass, beyond what is saved."""
    operators: int
    """Operators of the forward pass."""


def units_memory(one: MemoryWatch, two: MemoryWatch) -> list[UnitMemory]:
    """Saved and transient bytes of every unit per sample: what the second sample of ``two`` adds
    to that of ``one``."""
    return [
        UnitMemory(
            saved_bytes=max(0, two.saved[unit] - one.saved[unit]),
            working_bytes=max(0, two.working(unit) - one.working(unit)),
            operators=one.operators[unit],
        )
        for unit in range(len(one.saved))
    ]


class MemoryWatch(Listener):
    """Reads the tracker at every boundary between units.

    Gradients of parameters are counted apart, since they do not grow with the batch.
    """

    def __init__(self, model: FoundationModel) -> None:
        self.tracker = StorageTracker()
        self.saved = [0] * model.n_units
        self.operators = [0] * model.n_units
        self._parameters: list[nn.Parameter] = list(model.bare.parameters())
        self._frozen = [False] * model.n_units
        self._forward_peak = [0] * model.n_units
        self._backward_peak = [0] * model.n_units
        self._start = [0] * model.n_units
        self._now: tuple[int, Phase] | None = None
        self._operators_before = 0

    def enter(self, unit: int, phase: Phase) -> None:
        self._close()
        self._now = (unit, phase)
        if phase == "forward":
            self._start[unit] = self.tracker.live_bytes
        self._operators_before = self.tracker.operators
        self.tracker.restart_peak()

    def cut(self, unit: int, hidden: Tensor) -> None:
        self._frozen[unit] = not hidden.requires_grad

    def finish(self) -> None:
        self._close()
        for unit, above in pairwise(range(len(self.saved))):
            if self._frozen[unit] and self._frozen[above]:
                # What is still alive here is held by the caller's frame, not for a gradient.
                self.saved[unit] = 0

    def working(self, unit: int) -> int:
        """Highest bytes of the unit's passes beyond what all units up to it have saved."""
        kept = self._start[unit] + self.saved[unit]
        return max(self._forward_peak[unit], self._backward_peak[unit]) - kept

    def _close(self) -> None:
        if self._now is None:
            return
        unit, phase = self._now
        if phase == "forward":
            self.saved[unit] = self.tracker.live_bytes - self._start[unit]
            self._forward_peak[unit] = self.tracker.peak_bytes
            self.operators[unit] = self.tracker.operators - self._operators_before
        else:
            gradients = [p.grad for p in self._parameters if p.grad is not None]
            self._backward_peak[unit] = self.tracker.peak_bytes - sum(
                gradient.untyped_storage().nbytes() for gradient in gradients
            )
