"""A profile's times on another device, or on one that could not run the model.

Where the model was timed, each measured time is multiplied by the ratio of modelled times, so
that what the model of time leaves out cancels; where it was not, the modelled times stand alone.
One measured step of the whole model, if there is one, then scales them all: forward, backward
and update each by its own part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gaisnet.errors import InputError, MismatchError
from gaisnet.extrapolation.seconds import modelled_s, modelled_update_s
from gaisnet.extrapolation.speeds import Speeds, speeds_of
from gaisnet.extrapolation.steps import fixed_s, step_parts_s, step_s
from gaisnet.extrapolation.work import DIRECTIONS, Activity, Direction, FloatArray
from gaisnet.schema.calibration import CalibrationStep, StepParts
from gaisnet.schema.profile import (
    DevicePart,
    EndToEnd,
    Extrapolation,
    ModelPart,
    Profile,
    Spread,
    Timing,
    UnitPart,
)

__all__ = ["DEFAULT_BATCH_SIZES", "extrapolate", "extrapolate_profile"]

DEFAULT_BATCH_SIZES = (1, 4)
_PARTS_ERROR, _CALIBRATED_ERROR, _MEASURED_ERROR = 0.1, 0.18, 0.62
"""The largest that `benchmarks/extrapolation.py` found: with a step timed in parts, with one timed
as a whole, and without a step."""


@dataclass(frozen=True, kw_only=True)
class _Way:
    """From what to what times are carried over."""

    target: Speeds
    source: Speeds | None
    factors: Mapping[Activity, float] = field(default_factory=dict)
    """By what times are multiplied besides, 1 where nothing is said."""

    def times(
        self,
        units: Sequence[UnitPart],
        direction: Direction,
        batch_size: int,
        measured: Sequence[Spread],
        fixed_s: FloatArray,
    ) -> list[Spread]:
        """Times of all units at one batch size. What is measured is taken apart into what does
        not grow with the batch (``fixed_s``: calls, Python) and what does, which other devices
        change in unlike measure."""
        there = modelled_s(self.target, units, direction, batch_size)
        if self.source is None:
            return self._made(there, direction)
        here = modelled_s(self.source, units, direction, batch_size)
        there_0 = modelled_s(self.target, units, direction, 0)
        here_0 = modelled_s(self.source, units, direction, 0)
        known_s = np.array([spread.expected_s for spread in measured])
        fixed = np.minimum(fixed_s, known_s)
        new = fixed * _ratio(there_0, here_0) + (known_s - fixed) * _ratio(
            there - there_0, here - here_0
        )
        return self._scaled(measured, new, known_s, direction)

    def updates(self, units: Sequence[UnitPart]) -> list[Spread]:
        there = modelled_update_s(self.target, units)
        measured = [unit.update_cpu for unit in units]
        if self.source is None or None in measured:
            return self._made(there, "update")
        known = [spread for spread in measured if spread is not None]
        known_s = np.array([spread.expected_s for spread in known])
        ratio = _ratio(there, modelled_update_s(self.source, units))
        return self._scaled(known, known_s * ratio, known_s, "update")

    def _made(self, seconds: FloatArray, activity: Activity) -> list[Spread]:
        factor = self.factors.get(activity, 1.0)
        return [_made_up(factor * float(s)) for s in seconds]

    def _scaled(
        self,
        measured: Sequence[Spread],
        new: FloatArray,
        old: FloatArray,
        activity: Activity,
    ) -> list[Spread]:
        """Spreads grow as their means do."""
        factor = self.factors.get(activity, 1.0)
        ratios = factor * np.divide(new, old, out=np.ones_like(new), where=old > 0.0)
        return [s.scaled(r) for s, r in zip(measured, ratios.tolist(), strict=True)]


def _ratio(there: FloatArray, here: FloatArray) -> FloatArray:
    """Modelled times there over here; of the whole model where a unit has nothing modelled."""
    whole = float(there.sum() / here.sum()) if here.sum() > 0.0 else 1.0
    found: FloatArray = np.divide(there, here, out=np.full_like(there, whole), where=here > 0.0)
    return found


def extrapolate(
    model: ModelPart,
    target: DevicePart,
    source: DevicePart | None = None,
    step: CalibrationStep | None = None,
    batch_sizes: Sequence[int] = DEFAULT_BATCH_SIZES,
) -> ModelPart:
    """The model part with the times that ``target`` would take.

    Args:
        model: Counted, and timed on ``source`` or not at all.
        target: Measured figures of a device, or those of a preset.
        source: Figures of the device that the model was timed on. Without them, or if the
            timings are extrapolated themselves, times are made from counts alone.
        step: One step timed on ``target``.
        batch_sizes: What to make times for where the model was not timed.

    Raises:
        MismatchError: The step is of another model, or was taken otherwise.
        InputError: A device has no FLOP/s, or the step took no time.
    """
    timed = model.extrapolation is None and all(unit.timings for unit in model.units)
    if not timed or source is None:
        source = None
        model = _untimed(model, batch_sizes)
    dtype = model.model.dtype
    way = _Way(
        target=speeds_of(target, dtype),
        source=None if source is None else speeds_of(source, dtype),
    )
    made = _carried_over(model, way)
    factor = 1.0
    if step is not None:
        _check(model, step)
        factor = _taken_s(step) / step_s(made, step.batch_size)
        way = replace(way, factors=_factors(made, step))
        made = _carried_over(model, way)
    told = Extrapolation(
        device=target.name,
        measured_on=None if source is None else source.name,
        method="modelled" if source is None else "scaled",
        calibration=factor,
        calibrated_batch_size=None if step is None else step.batch_size,
        expected_error=_expected_error(target, source, step),
    )
    return made.model_copy(update={"extrapolation": told})


def extrapolate_profile(
    profile: Profile, target: DevicePart, step: CalibrationStep | None = None
) -> Profile:
    """A whole profile as of another device: ``target`` takes the place of its device part.

    Raises:
        MismatchError: The step is of another model, was taken otherwise, or the profile is of no
            model at all.
    """
    if profile.model is None:
        raise MismatchError("the profile has no model part, so there are no times to extrapolate")
    model = extrapolate(profile.model, target, profile.device, step)
    device = target.model_copy(update={"origin": "extrapolated"})
    return profile.model_copy(update={"device": device, "model": model, "link": None})


def _factors(made: ModelPart, step: CalibrationStep) -> dict[Activity, float]:
    """By what each part's time has to be multiplied for the step to come out as it was taken.

    The parts in the proportions that they were measured in, all together as long as the whole
    step; without measured parts one factor for all.
    """
    now_s = step_parts_s(made, step.batch_size)
    told_s = now_s if step.parts_cpu is None else _parts_s(step.parts_cpu)
    scale = _taken_s(step) / sum(told_s.values())
    return {part: scale * told_s[part] / s if s > 0.0 else 1.0 for part, s in now_s.items()}


def _taken_s(step: CalibrationStep) -> float:
    return min(step.step.expected_s, step.step_cpu.expected_s)


def _parts_s(parts: StepParts) -> dict[Activity, float]:
    return {
        "forward": parts.forward.expected_s,
        "backward": parts.backward.expected_s,
        "update": parts.update.expected_s,
    }


def _carried_over(model: ModelPart, way: _Way) -> ModelPart:
    sizes = [timing.batch_size for timing in model.units[0].timings]
    fixed = {direction: fixed_s(model, direction) for direction in DIRECTIONS}
    by_size = [
        _timings(model.units, way, position, size, fixed) for position, size in enumerate(sizes)
    ]
    updates = way.updates(model.units)
    units = tuple(
        unit.model_copy(
            update={
                "timings": tuple(timings[index] for timings in by_size),
                "update": updates[index],
                "update_cpu": updates[index],
            }
        )
        for index, unit in enumerate(model.units)
    )
    checks = tuple(_end_to_end(units, model, position) for position in range(len(sizes)))
    calls = way.target.operator_s / way.source.operator_s if way.source else 0.0
    return model.model_copy(
        update={
            "units": units,
            "end_to_end": checks,
            "stage_overhead_s": (way.factors.get("forward", 1.0) * calls * model.stage_overhead_s),
        }
    )


def _timings(
    units: Sequence[UnitPart],
    way: _Way,
    position: int,
    size: int,
    fixed: Mapping[Direction, FloatArray],
) -> list[Timing]:
    """The times of all units at one batch size. Clock and CPU time are the same: what else runs
    on the other device is not known."""
    measured = [unit.timings[position] for unit in units]
    up_s, down_s = ([t.forward_cpu for t in measured], [t.backward_cpu for t in measured])
    forward = way.times(units, "forward", size, up_s, fixed["forward"])
    backward = way.times(units, "backward", size, down_s, fixed["backward"])
    return [
        Timing(
            origin="extrapolated",
            batch_size=size,
            forward=up,
            backward=down,
            forward_cpu=up,
            backward_cpu=down,
        )
        for up, down in zip(forward, backward, strict=True)
    ]


def _end_to_end(units: Sequence[UnitPart], before: ModelPart, position: int) -> EndToEnd:
    """The sum of the new times, and the step that follows from it by the kappa measured before."""
    timings = [unit.timings[position] for unit in units]
    passes = sum(
        timing.forward_cpu.expected_s + timing.backward_cpu.expected_s for timing in timings
    )
    total_s = passes + sum(unit.update_cpu.expected_s for unit in units if unit.update_cpu)
    kappas = [
        check.kappa for check in before.end_to_end if check.batch_size == timings[0].batch_size
    ]
    kappa = kappas[0] if kappas else 1.0
    step = _made_up(kappa * total_s)
    return EndToEnd(
        batch_size=timings[0].batch_size,
        step=step,
        step_cpu=step,
        sum_s=total_s,
        sum_cpu_s=total_s,
        kappa=kappa,
    )


def _untimed(model: ModelPart, batch_sizes: Sequence[int]) -> ModelPart:
    """The same counts with places for times at some batch sizes, and no measured time left."""
    nothing = _made_up(0.0)
    timings = tuple(
        Timing(
            batch_size=size,
            forward=nothing,
            backward=nothing,
            forward_cpu=nothing,
            backward_cpu=nothing,
        )
        for size in batch_sizes
    )
    blank = {"timings": timings, "update": None, "update_cpu": None}
    units = tuple(unit.model_copy(update=blank) for unit in model.units)
    return model.model_copy(update={"units": units, "end_to_end": (), "stage_overhead_s": 0.0})


def _made_up(seconds: float) -> Spread:
    """A time that nobody measured."""
    return Spread(median_s=seconds, spread_s=0.0, samples=1)


def _check(model: ModelPart, step: CalibrationStep) -> None:
    if _taken_s(step) <= 0.0 or (step.parts_cpu and not any(_parts_s(step.parts_cpu).values())):
        raise InputError("the calibration step took no time", hint="take it again")
    for what, profiled, taken in (
        ("tunable modules", model.tunable, step.tunable),
        ("optimizer", model.optimizer, step.optimizer),
        ("sequence length", model.tokens, step.tokens),
        ("model", model.fingerprint, step.fingerprint),
    ):
        if profiled != taken:
            raise MismatchError(
                f"the calibration step was taken with another {what}: {taken}, not {profiled}",
                hint="take it again with the profile's model and options",
            )


def _expected_error(
    target: DevicePart, source: DevicePart | None, step: CalibrationStep | None
) -> float | None:
    """As `benchmarks/extrapolation.py` has it between CPUs; nobody checked datasheets against real
    devices. A GPU often waits for whoever issues its operators: its figures say little of that."""
    if "cuda" in (target.kind, source.kind if source else None):
        return None
    if step is not None and source is not None:
        return _CALIBRATED_ERROR if step.parts_cpu is None else _PARTS_ERROR
    return _MEASURED_ERROR if target.origin == "measured" else None
