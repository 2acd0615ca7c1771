"""A profile in the terminal: one row per unit, the heaviest marked, and what to doubt."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gaisnet.report.units import (
    as_bytes,
    as_count,
    as_flops,
    as_percent,
    as_rate,
    as_seconds,
    bar,
)
from gaisnet.schema.profile import DevicePart, ModelPart, Profile, UnitPart

__all__ = ["heat", "preset_table", "profile_table", "unit_cost"]

_HEAT = ((0.9, "bold red"), (0.6, "yellow"), (0.3, "green"))


def profile_table(profile: Profile) -> RenderableType:
    """The device, the model's units, and the profile's own doubts."""
    parts: list[RenderableType] = []
    if profile.device is not None:
        parts.append(_device(profile.device))
    if profile.model is not None:
        parts += [_units(profile.model), _checks(profile.model)]
    return Group(*parts)


def unit_cost(unit: UnitPart) -> float:
    """What makes a unit heavy: FLOPs of a training step."""
    return unit.forward_flops + unit.backward_flops


def heat(share_of_heaviest: float) -> str:
    """The colour of a unit by its cost relative to the heaviest unit's."""
    return next((style for least, style in _HEAT if share_of_heaviest >= least), "")


def _device(device: DevicePart) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.title = f"Device: {device.name} ({device.kind}, {device.origin})"
    table.title_justify = "left"
    for dtype in sorted(device.peak_flops_per_s):
        peak, sustained = device.peak_flops_per_s[dtype], device.sustained_flops_per_s.get(dtype)
        lasting = f", sustained {as_rate(sustained)}" if sustained is not None else ""
        table.add_row(dtype, f"peak {as_rate(peak)}{lasting}")
    memory = f"{as_bytes(device.memory_bytes)} ({device.memory_source})"
    table.add_row("memory", f"{memory}, {as_bytes(device.memory_bandwidth_bytes_per_s)}/s")
    power = device.power
    table.add_row("power", f"{power.idle_w:.3g} W to {power.busy_w:.3g} W ({power.source})")
    table.add_row("operator call", as_seconds(device.op_overhead_s))
    table.add_row("source", Text(device.source))
    return Group(table, "")


def _units(part: ModelPart) -> Table:
    table = Table(title=Text(_title(part)), title_justify="left", header_style="bold")
    table.add_column("unit", no_wrap=True)
    timed = any(unit.timings for unit in part.units)
    for name in _COLUMNS + (_TIMED if timed else ()):
        table.add_column(name, justify="right", no_wrap=name != "share of FLOPs")
    total = sum(map(unit_cost, part.units)) or 1
    heaviest = max(map(unit_cost, part.units)) or 1
    for unit in part.units:
        share = unit_cost(unit) / total
        hot = unit_cost(unit) / heaviest
        mark = "● " if hot >= _HEAT[0][0] else "  "
        cells = [*_cells(unit), f"{bar(hot, 6)} {as_percent(share)}", *_times(unit, timed)]
        table.add_row(Text(mark + unit.name), *cells, style=heat(hot))
    table.add_section()
    table.add_row("  total", *_totals(part, timed), style="bold")
    return table


_COLUMNS = (
    "params",
    "tuned",
    "forward",
    "backward",
    "weights",
    "saved",
    "cut ↓",
    "cut ↑",
    "share of FLOPs",
)
_TIMED = ("t fwd", "t bwd")


def _title(part: ModelPart) -> str:
    size = f"{part.tokens} tokens" if part.tokens > 1 else "one sample"
    return (
        f"Model: {part.model.source} ({part.architecture}), {part.tunable.kind}, {part.optimizer}; "
        f"counts for {size}; cut ↓ and ↑: bytes forward and back over the cut after the unit"
    )


def _cells(unit: UnitPart) -> list[str]:
    return [
        as_count(unit.parameters),
        as_count(unit.tunable_parameters),
        as_flops(unit.forward_flops),
        as_flops(unit.backward_flops),
        as_bytes(unit.weight_bytes),
        as_bytes(unit.saved_activation_bytes),
        as_bytes(unit.output_bytes),
        as_bytes(unit.gradient_output_bytes),
    ]


def _times(unit: UnitPart, timed: bool) -> list[str]:
    if not timed or not unit.timings:
        return ["–", "–"] if timed else []
    first = unit.timings[0]
    return [as_seconds(first.forward.median_s), as_seconds(first.backward.median_s)]


def _totals(part: ModelPart, timed: bool) -> list[str]:
    def total(field: str) -> int:
        return sum(getattr(unit, field) for unit in part.units)

    cells = [
        as_count(total("parameters")),
        as_count(total("tunable_parameters")),
        as_flops(total("forward_flops")),
        as_flops(total("backward_flops")),
        as_bytes(total("weight_bytes")),
        as_bytes(total("saved_activation_bytes")),
        "",
        "",
        "",
    ]
    first = [unit.timings[0] for unit in part.units if unit.timings]
    if timed:
        cells.append(as_seconds(sum(timing.forward.median_s for timing in first)))
        cells.append(as_seconds(sum(timing.backward.median_s for timing in first)))
    return cells


def _checks(part: ModelPart) -> RenderableType:
    lines = [Text(f"FLOP counters differ by at most {as_percent(part.flops_disagreement)}")]
    uncounted = sorted({name for unit in part.units for name in unit.uncounted})
    if uncounted:
        lines.append(Text(f"nobody counted: {', '.join(uncounted)}", style="bold red"))
    for check in part.end_to_end:
        lines.append(
            Text(
                f"batch {check.batch_size}: a whole step takes {as_seconds(check.step.median_s)}, "
                f"its units alone {as_seconds(check.sum_s)} (kappa {check.kappa:.3f})"
            )
        )
    for units in part.tied_units:
        names = ", ".join(part.units[unit].name for unit in units)
        lines.append(Text(f"share a parameter: {names}"))
    lines += [Text(f"warning: {warning}", style="yellow") for warning in part.warnings]
    return Group(*lines)


def preset_table(presets: list[DevicePart]) -> Table:
    """The catalogue of devices."""
    table = Table(title="Presets", title_justify="left", header_style="bold")
    for name in ("preset", "peak float32", "sustained", "memory", "bandwidth", "busy"):
        table.add_column(name, justify="left" if name == "preset" else "right", no_wrap=True)
    for part in presets:
        table.add_row(
            part.name,
            as_rate(part.peak_flops_per_s["float32"]),
            as_rate(part.sustained_flops_per_s["float32"]),
            as_bytes(part.memory_bytes),
            f"{as_bytes(part.memory_bandwidth_bytes_per_s)}/s",
            f"{part.power.busy_w:.3g} W",
        )
    return table
