"""From raw times to means: identical blocks pooled, and the sum set against the whole step."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import get_args

from gaisnet.extrapolation.work import Activity
from gaisnet.profiler.clock import Instant
from gaisnet.profiler.statistics import spread_of
from gaisnet.profiler.timing import Record, lone_unit
from gaisnet.schema.calibration import StepParts
from gaisnet.schema.profile import EndToEnd, ModelPart, Spread, Timing, UnitPart

__all__ = ["end_to_end", "stage_overhead_s", "step_parts", "with_records", "with_times"]

_Samples = dict[tuple[Hashable, Activity], list[Instant]]


def with_records(part: ModelPart, records: Mapping[int, Record]) -> ModelPart:
    """An analysed model with the times that were recorded.

    Args:
        part: What was counted.
        records: Raw times by batch size.
    """
    units = with_times(part.units, records)
    return part.model_copy(
        update={
            "units": tuple(units),
            "end_to_end": end_to_end(units, records),
            "stage_overhead_s": stage_overhead_s(units[lone_unit(len(units))], records),
        }
    )


def with_times(units: Sequence[UnitPart], records: Mapping[int, Record]) -> list[UnitPart]:
    """The units with their timings at every batch size.

    Args:
        units: Analysed units.
        records: Raw times by batch size.
    """
    pools = {size: _pool(units, record) for size, record in records.items()}
    return [_with_times(unit, pools) for unit in units]


def end_to_end(units: Sequence[UnitPart], records: Mapping[int, Record]) -> tuple[EndToEnd, ...]:
    """The sum of the units' means against whole steps, at every batch size.

    Args:
        units: Units with their timings, in the order of ``records``.
        records: Raw times by batch size.
    """
    return tuple(
        _check(units, position, size, records[size]) for position, size in enumerate(records)
    )


def stage_overhead_s(unit: UnitPart, records: Mapping[int, Record]) -> float:
    """CPU time of a stage's forward pass beside its units, the median over batch sizes.

    Args:
        unit: The block that was also timed as a stage of its own, with its timings.
        records: Raw times by batch size.
    """
    excess = [
        spread_of([run.cpu_s for run in record.lone_stage]).expected_s
        - timing.forward_cpu.expected_s
        for timing, record in zip(unit.timings, records.values(), strict=True)
    ]
    return max(0.0, statistics.median(excess))


def _pool(units: Sequence[UnitPart], record: Record) -> _Samples:
    """Samples of all units that do the same work under one key."""
    samples: _Samples = defaultdict(list)
    for (unit, activity), durations in record.parts.items():
        samples[_work(units[unit]), activity] += durations
    return samples


def _work(unit: UnitPart) -> Hashable:
    return (
        unit.kind,
        unit.parameters,
        unit.tunable_parameters,
        unit.forward_flops,
        unit.backward_flops,
        unit.saved_activation_bytes,
        unit.operators,
    )


def _with_times(unit: UnitPart, pools: Mapping[int, _Samples]) -> UnitPart:
    key = _work(unit)
    timings = []
    for size, samples in pools.items():
        forward, forward_cpu = _spreads(samples.get((key, "forward")))
        backward, backward_cpu = _spreads(samples.get((key, "backward")))
        timings.append(
            Timing(
                batch_size=size,
                forward=forward,
                backward=backward,
                forward_cpu=forward_cpu,
                backward_cpu=backward_cpu,
            )
        )
    updates = [run for samples in pools.values() for run in samples.get((key, "update"), [])]
    update, update_cpu = _spreads(updates)
    return unit.model_copy(
        update={"timings": tuple(timings), "update": update, "update_cpu": update_cpu}
    )


def step_parts(steps: Sequence[Record]) -> StepParts:
    """CPU time of the parts of whole steps, each step in a record of its own."""
    totals = {what: [_spent_s(step, what) for step in steps] for what in get_args(Activity)}
    return StepParts(**{what: spread_of(seconds) for what, seconds in totals.items()})


def _spent_s(step: Record, activity: Activity) -> float:
    return sum(
        run.cpu_s for (_, what), runs in step.parts.items() if what == activity for run in runs
    )


def _spreads(durations: Sequence[Instant] | None) -> tuple[Spread, Spread]:
    """Wall and CPU time; zeros for what is not done at all."""
    found = durations or [Instant(0.0, 0.0)]
    return spread_of([d.wall_s for d in found]), spread_of([d.cpu_s for d in found])


def _check(units: Sequence[UnitPart], position: int, size: int, record: Record) -> EndToEnd:
    timings = [unit.timings[position] for unit in units]
    updates = [(unit.update, unit.update_cpu) for unit in units]
    sum_s = sum(t.forward.expected_s + t.backward.expected_s for t in timings)
    sum_cpu_s = sum(t.forward_cpu.expected_s + t.backward_cpu.expected_s for t in timings)
    sum_s += sum(wall.expected_s for wall, _ in updates if wall)
    sum_cpu_s += sum(cpu.expected_s for _, cpu in updates if cpu)
    step, step_cpu = _spreads(record.steps)
    return EndToEnd(
        batch_size=size,
        step=step,
        step_cpu=step_cpu,
        sum_s=sum_s,
        sum_cpu_s=sum_cpu_s,
        kappa=step_cpu.expected_s / sum_cpu_s,
        measured_peak=record.peak,
    )
