"""What the page of a profile draws: costs per unit, where to cut, the roofline, leakage."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from gaisnet.report import charts, units
from gaisnet.report.profile_view import short_name
from gaisnet.report.unit_charts import Columns, Point, Points, columns, points
from gaisnet.schema.profile import DevicePart, ModelPart, Profile, Timing, UnitPart

__all__ = ["profile_charts"]


def profile_charts(profile: Profile) -> dict[str, Any]:
    """All charts that the profile has figures for; ``None`` or empty where it has not."""
    model = profile.model
    return {
        "unit_charts": _unit_charts(model) if model else [],
        "cut_chart": _where_to_cut(model) if model else None,
        "good_cuts": _good_cuts(model) if model else [],
        "roofline": _roofline(profile.device, model) if profile.device and model else None,
        "leakage_chart": _leakage(model) if model and model.leakage else None,
    }


def _unit_charts(model: ModelPart) -> list[Columns]:
    """FLOPs, memory, time and cut size of each unit."""
    found, names = model.units, [unit.name for unit in model.units]
    state = [float(unit.gradient_bytes + unit.optimizer_bytes) for unit in found]
    drawn = [
        columns(
            "FLOPs of a training step, one sample",
            names,
            {
                "forward": [float(unit.forward_flops) for unit in found],
                "backward": [float(unit.backward_flops) for unit in found],
            },
            units.as_flops,
        ),
        columns(
            "Memory to train with one sample",
            names,
            {
                "weights": [float(unit.weight_bytes) for unit in found],
                "gradients and optimizer": state,
                "saved activations": [float(unit.saved_activation_bytes) for unit in found],
            },
            units.as_bytes,
            binary=True,
        ),
    ]
    timed = _times(model)
    if timed is not None:
        drawn.append(timed)
    cuts = found[:-1]
    sizes = {
        "activations ↓": [float(unit.output_bytes) for unit in cuts],
        "gradients ↑": [float(unit.gradient_output_bytes) for unit in cuts],
    }
    drawn.append(
        columns(
            "Bytes over the cut after each unit", names[:-1], sizes, units.as_bytes, binary=True
        )
    )
    return drawn


def _times(model: ModelPart) -> Columns | None:
    sizes = [{timing.batch_size for timing in unit.timings} for unit in model.units]
    common = max(set.intersection(*sizes), default=None)
    if common is None:
        return None
    timings = [_timing(unit, common) for unit in model.units]
    how = "" if model.extrapolation is None else ", extrapolated"
    return columns(
        f"CPU time of a training step, batch {common}{how}",
        [unit.name for unit in model.units],
        {
            "forward": [t.forward_cpu.expected_s for t in timings],
            "backward": [t.backward_cpu.expected_s for t in timings],
        },
        units.as_seconds,
    )


def _timing(unit: UnitPart, batch_size: int) -> Timing:
    return next(timing for timing in unit.timings if timing.batch_size == batch_size)


def _shares_before(model: ModelPart) -> list[float]:
    """Of the training step's FLOPs, how much is done up to each cut."""
    costs = [unit.forward_flops + unit.backward_flops for unit in model.units]
    total = sum(costs) or 1
    return [done / total for done in itertools.accumulate(costs)][:-1]


def _where_to_cut(model: ModelPart) -> Points | None:
    """Bytes over each cut, both ways, against the compute before it; the line is the raw input."""
    found = []
    for index, (unit, share) in enumerate(zip(model.units, _shares_before(model), strict=False)):
        crossing = _cut_bytes(model, unit)
        title = f"after {unit.name}: {units.as_bytes(crossing)}, {units.as_percent(share)} before"
        if crossing:
            found.append(Point(share, crossing, title, 0, str(index)))
    if not found:
        return None
    raw = max(model.input_bytes, 1)
    return points(
        "bytes over a cut against compute before it",
        found,
        (lambda share: f"{100 * share:.0f} %", units.as_bytes),
        line=[(0.0, raw), (1.0, raw)],
        log=(False, True),
        binary=True,
        joined=True,
    )


def _cut_bytes(model: ModelPart, unit: UnitPart) -> int:
    return unit.output_bytes + unit.gradient_output_bytes + model.side_input_bytes


def _good_cuts(model: ModelPart) -> list[str]:
    """Cuts that no other one beats both in bytes and in compute left to the first device."""
    least, found = None, []
    for unit, share in zip(model.units, _shares_before(model), strict=False):
        crossing = _cut_bytes(model, unit)
        if least is None or crossing < least:
            least = crossing
            text = f"{units.as_bytes(crossing)} with {units.as_percent(share)} of the compute"
            found.append(f"after {short_name(unit)}: {text} before it")
    return found


def _roofline(device: DevicePart, model: ModelPart) -> Points | None:
    """Speed of each unit's forward pass under the device's two limits.

    Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009. Bytes moved are the least there
    can be: weights once, what enters and what leaves once. Units that were not timed stand on
    the roof.
    """
    dtype = model.model.dtype
    peak = device.peak_flops_per_s.get(dtype) or device.peak_flops_per_s.get("float32")
    if peak is None:
        return None
    found = _under_roof(model, peak, device.memory_bandwidth_bytes_per_s)
    if not found:
        return None
    ridge = peak / device.memory_bandwidth_bytes_per_s
    left = min(min(point.x for point in found), ridge) / 2
    right = max(max(point.x for point in found), ridge) * 2
    roof = [(left, left * device.memory_bandwidth_bytes_per_s), (ridge, peak), (right, peak)]
    labels = (lambda x: f"{x:.4g}", units.as_rate)
    return points("roofline", found, labels, line=roof)


def _under_roof(model: ModelPart, peak: float, bandwidth: float) -> list[Point]:
    found = []
    entering = model.input_bytes
    for index, unit in enumerate(model.units):
        timing = max(unit.timings, key=lambda t: t.batch_size, default=None)
        batch = timing.batch_size if timing else 1
        moved = unit.weight_bytes + batch * (entering + unit.output_bytes)
        entering = unit.output_bytes
        flops = batch * unit.forward_flops
        if not flops or not moved:
            continue
        intensity = flops / moved
        seconds = timing.forward_cpu.expected_s if timing else 0.0
        speed = flops / seconds if seconds else min(peak, intensity * bandwidth)
        how = f"batch {batch}, {units.as_rate(speed)}" if seconds else "not timed"
        title = f"{unit.name}: {intensity:.3g} FLOP/byte, {how}"
        found.append(Point(intensity, speed, title, 0 if seconds else 1, _shown(model, index)))
    return found


def _shown(model: ModelPart, index: int) -> str:
    """Names of the ends and of one block: the blocks lie on top of each other."""
    return short_name(model.units[index]) if index in (0, 1, len(model.units) - 1) else ""


def _leakage(model: ModelPart) -> charts.LineChart:
    """What each cut gives away, from 0 to 1."""
    rows = model.leakage

    def line(values: Sequence[float | None]) -> list[tuple[int, float]]:
        cuts = zip(rows, values, strict=True)
        return [(row.unit, min(value, 1.0)) for row, value in cuts if value is not None]

    lines = {
        "inversion error": line([row.inversion_error for row in rows]),
        "distance correlation": line([row.distance_correlation for row in rows]),
        "the same by chance": line([row.distance_correlation_null for row in rows]),
        "label AUC (cosine)": line([row.label_auc_cosine for row in rows]),
    }
    return charts.line_chart(lines, lambda share: f"{share:.2g}", y_max=1.0, x_name="cut")
