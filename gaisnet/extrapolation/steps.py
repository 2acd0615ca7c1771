"""What a profile's own timings say, at any batch size."""

from __future__ import annotations

from statistics import median

import numpy as np

from gaisnet.errors import InputError
from gaisnet.extrapolation.lines import lines_s
from gaisnet.extrapolation.work import Activity, Direction, FloatArray
from gaisnet.schema.profile import ModelPart, Timing

__all__ = ["fixed_s", "kappa_of", "step_parts_s", "step_s", "timed_s", "timed_update_s"]


def timed_s(model: ModelPart, direction: Direction, batch_size: int) -> FloatArray:
    """Seconds ``[L]`` of each unit's pass by the profile's timings, times kappa.

    CPU time: contention on the measuring machine touches it less than wall time.

    Raises:
        InputError: Units were timed at different batch sizes.
    """
    return kappa_of(model) * _lines_s(model, direction, batch_size)


def fixed_s(model: ModelPart, direction: Direction) -> FloatArray:
    """Seconds ``[L]`` of each unit's pass that do not grow with the batch; 0 with one size."""
    return _lines_s(model, direction, 0)


def timed_update_s(model: ModelPart) -> FloatArray | None:
    """Seconds ``[L]`` of one optimizer step, times kappa; ``None`` if it was not timed."""
    if all(unit.update_cpu is None for unit in model.units):
        return None
    seconds = [unit.update_cpu.expected_s if unit.update_cpu else 0.0 for unit in model.units]
    return kappa_of(model) * np.array(seconds)


def step_s(model: ModelPart, batch_size: int) -> float:
    """Seconds of a whole training step: forward, backward and update of all units."""
    return sum(step_parts_s(model, batch_size).values())


def step_parts_s(model: ModelPart, batch_size: int) -> dict[Activity, float]:
    """The same by part."""
    update = timed_update_s(model)
    return {
        "forward": float(timed_s(model, "forward", batch_size).sum()),
        "backward": float(timed_s(model, "backward", batch_size).sum()),
        "update": float(update.sum()) if update is not None else 0.0,
    }


def kappa_of(model: ModelPart) -> float:
    """Whole steps against the sum of their units, the median over batch sizes."""
    return median(check.kappa for check in model.end_to_end) if model.end_to_end else 1.0


def _lines_s(model: ModelPart, direction: Direction, batch_size: int) -> FloatArray:
    timings = [unit.timings for unit in model.units]
    sizes = [timing.batch_size for timing in timings[0]]
    if any([timing.batch_size for timing in row] != sizes for row in timings):
        raise InputError(
            f"units of {model.model.source} were timed at different batch sizes",
            hint="profile the model again",
        )
    seconds = np.array([[_cpu_s(timing, direction) for timing in row] for row in timings])
    return lines_s(sizes, seconds, batch_size)


def _cpu_s(timing: Timing, direction: Direction) -> float:
    return (timing.forward_cpu if direction == "forward" else timing.backward_cpu).expected_s
