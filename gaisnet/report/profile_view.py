"""A profile in the terminal: one row per unit, the heaviest marked, and what to doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from gaisnet.report.extrapolation_view import told_extrapolation
from gaisnet.report.leakage_view import leakage_table, link_table
from gaisnet.report.tables import compact_table
from gaisnet.report.units import (
    as_bytes,
    as_count,
    as_percent,
    as_rate,
    as_seconds,
)
from gaisnet.schema.profile import DevicePart, EndToEnd, ModelPart, Profile, UnitPart

__all__ = ["heat", "preset_table", "profile_table", "short_name", "unit_cost"]

_HEAT = ((0.9, "bold red"), (0.6, "yellow"), (0.3, "green"))


def profile_table(profile: Profile) -> RenderableType:
    """The device, the model's units, the profile's own doubts, leakage and the link."""
    parts: list[RenderableType] = []
    if profile.device is not None:
        parts.append(_device(profile.device))
    if profile.model is not None:
        parts += [_Units(profile.model), _checks(profile.model)]
        parts += _leakage(profile.model)
    if profile.link is not None:
        parts += ["", link_table(profile.link)]
    return Group(*parts)


def _leakage(part: ModelPart) -> list[RenderableType]:
    names = [short_name(unit) for unit in part.units]
    return ["", leakage_table(part.leakage, names)] if part.leakage else []


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


@dataclass(frozen=True)
class _Column:
    """A column of the table of units."""

    title: str
    cell: Callable[[UnitPart], str]
    total: str = ""
    """Field that is added up in the last row, as the cells are written."""
    narrow: bool = True
    """Whether it stays where the terminal is narrow."""


def _field(
    title: str, field: str, write: Callable[[float], str], *, add: bool = True, narrow: bool = True
) -> _Column:
    return _Column(title, lambda unit: write(getattr(unit, field)), field if add else "", narrow)


_COLUMNS = (
    _field("params", "parameters", as_count, narrow=False),
    _field("tuned", "tunable_parameters", as_count, narrow=False),
    _field("fwd FLOP", "forward_flops", as_count),
    _field("bwd FLOP", "backward_flops", as_count),
    _field("saved", "saved_activation_bytes", as_bytes, narrow=False),
    _field("cut ↓", "output_bytes", as_bytes, add=False),
    _field("cut ↑", "gradient_output_bytes", as_bytes, add=False),
)


class _Units:
    """The table of units, with fewer columns where the terminal is narrow."""

    def __init__(self, part: ModelPart) -> None:
        self._part = part

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= _WIDE
        yield _units(self._part, [column for column in _COLUMNS if wide or column.narrow])


def _units(part: ModelPart, columns: list[_Column]) -> Table:
    table = compact_table(_title(part))
    timed = any(unit.timings for unit in part.units)
    table.add_column("unit", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    mark = "" if part.extrapolation is None else "≈ "
    for name in _TIMED if timed else ():
        table.add_column(mark + name, justify="right", no_wrap=True)
    total = sum(map(unit_cost, part.units)) or 1
    heaviest = max(map(unit_cost, part.units)) or 1
    for unit in part.units:
        hot = unit_cost(unit) / heaviest
        mark = "●" if hot >= _HEAT[0][0] else " "
        share = as_percent(unit_cost(unit) / total)
        cells = [column.cell(unit) for column in columns]
        label = Text(f"{mark} {short_name(unit)}")
        table.add_row(label, *cells, share, *_times(unit, timed), style=heat(hot))
    table.add_section()
    table.add_row("  total", *_totals(part, columns), "", *_total_times(part), style="bold")
    return table


_WIDE = 106
_TIMED = ("t fwd", "t bwd")


def short_name(unit: UnitPart) -> str:
    """The last two parts of a unit's dotted name: ``layers.3``."""
    return ".".join(unit.name.split(".")[-2:])


def _title(part: ModelPart) -> str:
    weights = as_bytes(sum(unit.weight_bytes for unit in part.units))
    return (
        f"Model: {part.model.source} ({part.architecture}), {weights}, {part.tunable.kind}, "
        f"{part.optimizer}\n"
        f"One sample of {part.tokens} tokens; cut ↓ ↑: bytes forward and back over the cut below"
    )


def _times(unit: UnitPart, timed: bool) -> list[str]:
    if not timed or not unit.timings:
        return ["–", "–"] if timed else []
    first = unit.timings[0]
    return [as_seconds(first.forward.expected_s), as_seconds(first.backward.expected_s)]


def _totals(part: ModelPart, columns: list[_Column]) -> list[str]:
    """Each column's sum, written by its own cell."""
    fields = [column.total for column in columns if column.total]
    sums = {field: sum(getattr(unit, field) for unit in part.units) for field in fields}
    whole = part.units[0].model_copy(update=sums)
    return [column.cell(whole) if column.total else "" for column in columns]


def _total_times(part: ModelPart) -> list[str]:
    first = [unit.timings[0] for unit in part.units if unit.timings]
    if not first:
        return []
    forward = sum(timing.forward.expected_s for timing in first)
    return [as_seconds(forward), as_seconds(sum(timing.backward.expected_s for timing in first))]


def _checks(part: ModelPart) -> RenderableType:
    lines = [Text(f"FLOP counters differ by at most {as_percent(part.flops_disagreement)}")]
    uncounted = sorted({name for unit in part.units for name in unit.uncounted})
    if uncounted:
        lines.append(Text(f"nobody counted: {', '.join(uncounted)}", style="bold red"))
    if part.extrapolation is not None:
        lines.append(Text(told_extrapolation(part.extrapolation), style="bold yellow"))
    for check in part.end_to_end:
        takes = "takes" if part.extrapolation is None else "would take"
        lines.append(
            Text(
                f"batch {check.batch_size}: a whole step {takes} "
                f"{as_seconds(check.step_cpu.expected_s)} of CPU time, its units alone "
                f"{as_seconds(check.sum_cpu_s)} (kappa {check.kappa:.3f}); "
                f"{as_seconds(check.step.expected_s)} on the clock{_told_peak(check)}"
            )
        )
    for units in part.tied_units:
        names = ", ".join(part.units[unit].name for unit in units)
        lines.append(Text(f"share a parameter: {names}"))
    lines += [Text(f"warning: {warning}", style="yellow") for warning in part.warnings]
    return Group(*lines)


def _told_peak(check: EndToEnd) -> str:
    peak = check.measured_peak
    return f"; at most {as_bytes(peak.bytes)} by the {peak.source}" if peak else ""


def preset_table(presets: list[DevicePart]) -> Table:
    """The catalogue of devices."""
    table = compact_table("Presets")
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
