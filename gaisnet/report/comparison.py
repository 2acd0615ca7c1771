"""Two profiles side by side: which figures differ, and whether by more than their own spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydantic import computed_field
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gaisnet.errors import MismatchError
from gaisnet.report.tables import compact_table
from gaisnet.report.units import as_bytes, as_count, as_rate, as_seconds
from gaisnet.schema.base import NonNegative, PositiveCount, Strict
from gaisnet.schema.profile import DevicePart, Profile, Timing, UnitPart

__all__ = ["Change", "Comparison", "UnitComparison", "compare_profiles", "comparison_view"]


class Change(Strict):
    """One figure in both profiles; ``None`` where a profile has it not."""

    first: NonNegative | None
    second: NonNegative | None
    spread: NonNegative = 0.0
    """Of both together; counts have none."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ratio(self) -> float | None:
        """The second over the first; ``None`` if it cannot be told."""
        if self.first is None or self.second is None or not self.first:
            return None
        return self.second / self.first

    @computed_field  # type: ignore[prop-decorator]
    @property
    def differs(self) -> bool:
        """Whether the figures are further apart than their spread; also if one is missing."""
        if self.first is None or self.second is None:
            return self.first is not self.second
        return abs(self.second - self.first) > self.spread


class UnitComparison(Strict):
    """One unit in both."""

    unit: str
    flops: Change
    """Of a training step, one sample."""
    memory_bytes: Change
    """Weights, gradients, optimizer state and saved activations of one sample."""
    time_s: Change
    """Forward and backward, in process CPU time, for the batch size that both have."""
    cut_bytes: Change
    """Over the cut after the unit, both ways, one sample."""


class Comparison(Strict):
    """What ``gaisnet profile --compare`` gives."""

    first: str
    second: str
    batch_size: PositiveCount | None
    """Of the times; ``None`` if the profiles have none in common."""
    device: dict[str, Change]
    units: tuple[UnitComparison, ...]


_FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "flops": ("FLOP", as_count),
    "memory_bytes": ("memory", as_bytes),
    "time_s": ("CPU time", as_seconds),
    "cut_bytes": ("cut ↓↑", as_bytes),
}
_ADDED_UP = ("flops", "memory_bytes", "time_s")
"""A sum over cuts means nothing: only some of them are made."""
_DEVICE: dict[str, tuple[Callable[[DevicePart], float | None], Callable[[float], str]]] = {
    "sustained float32": (lambda part: part.sustained_flops_per_s.get("float32"), as_rate),
    "memory bandwidth": (
        lambda part: part.memory_bandwidth_bytes_per_s,
        lambda rate: f"{as_bytes(rate)}/s",
    ),
    "memory": (lambda part: float(part.memory_bytes), as_bytes),
    "operator call": (lambda part: part.op_overhead_s, as_seconds),
    "busy power": (lambda part: part.power.busy_w, lambda watts: f"{watts:.3g} W"),
}


def compare_profiles(first: Profile, second: Profile, names: tuple[str, str]) -> Comparison:
    """Every unit and device figure of two profiles.

    Units are matched by name; a unit that only one of them has is shown with its figures alone.

    Args:
        first: What is compared with.
        second: What has changed.
        names: What to call the two.

    Raises:
        MismatchError: They have no part in common.
    """
    if not (first.model and second.model) and not (first.device and second.device):
        raise MismatchError(
            "these profiles have no part in common",
            where=" and ".join(names),
            hint="compare two that have a model, or two that have a device",
        )
    parts = [
        {unit.name: unit for unit in profile.model.units} if profile.model else {}
        for profile in (first, second)
    ]
    batch_size = _common_batch_size(parts)
    both = all(parts)
    matched = list(parts[0]) + [name for name in parts[1] if name not in parts[0]]
    return Comparison(
        first=names[0],
        second=names[1],
        batch_size=batch_size,
        device=_device(first.device, second.device),
        units=tuple(
            _unit(name, parts[0].get(name), parts[1].get(name), batch_size)
            for name in (matched if both else ())
        ),
    )


def comparison_view(found: Comparison) -> RenderableType:
    """The tables; figures that differ by more than their spread stand out."""
    parts: list[RenderableType] = []
    if found.device:
        table = compact_table("Devices", "", "first", "second", "ratio", left=1)
        for name, change in found.device.items():
            write = _DEVICE[name][1]
            table.add_row(name, *_pair(change, write), _ratio(change))
        parts.append(table)
    if found.units:
        parts.append(_units(found))
    parts.append(Text(f"first: {found.first}; second: {found.second}", style="dim"))
    return Group(*parts)


def _units(found: Comparison) -> Table:
    sized = "" if found.batch_size is None else f"; times for batch {found.batch_size}"
    table = compact_table(f"Units, first → second{sized}", "unit", left=1)
    for title, _ in _FIGURES.values():
        table.add_column(title, justify="right", no_wrap=True)
    for row in found.units:
        cells = (_cell(getattr(row, name), write) for name, (_, write) in _FIGURES.items())
        table.add_row(".".join(row.unit.split(".")[-2:]), *cells)
    table.add_section()
    totals = [_cell(_total(found.units, name), _FIGURES[name][1]) for name in _ADDED_UP]
    table.add_row("total", *totals, style="bold")
    table.caption = "= the same, ≈ within the stated spread, × by how much beyond it"
    table.caption_justify = "left"
    return table


def _cell(change: Change, write: Callable[[float], str]) -> Text:
    first, second = _pair(change, write)
    if change.first is None and change.second is None:
        return Text("–", style="dim")
    if not change.differs:
        return Text(f"{first} =" if change.first == change.second else f"{first} ≈ {second}")
    style = "yellow" if change.ratio is None else "red" if change.ratio > 1 else "green"
    return Text(f"{first} → {second} {_ratio(change)}".rstrip(), style=style)


def _pair(change: Change, write: Callable[[float], str]) -> tuple[str, str]:
    first, second = ("–" if v is None else write(v) for v in (change.first, change.second))
    return first, second


def _ratio(change: Change) -> str:
    return "" if change.ratio is None else f"×{change.ratio:.3g}"


def _total(rows: Sequence[UnitComparison], name: str) -> Change:
    changes: list[Change] = [getattr(row, name) for row in rows]
    known = [c for c in changes if c.first is not None and c.second is not None]
    if len(known) < len(changes):
        return Change(first=None, second=None)
    return Change(
        first=sum(change.first or 0 for change in known),
        second=sum(change.second or 0 for change in known),
        spread=sum(change.spread for change in known),
    )


def _unit(
    name: str, first: UnitPart | None, second: UnitPart | None, batch_size: int | None
) -> UnitComparison:
    def change(read: Callable[[UnitPart], int]) -> Change:
        values = [None if unit is None else float(read(unit)) for unit in (first, second)]
        return Change(first=values[0], second=values[1])

    return UnitComparison(
        unit=name,
        flops=change(lambda unit: unit.forward_flops + unit.backward_flops),
        memory_bytes=change(_memory_bytes),
        time_s=_time(first, second, batch_size),
        cut_bytes=change(lambda unit: unit.output_bytes + unit.gradient_output_bytes),
    )


def _memory_bytes(unit: UnitPart) -> int:
    held = unit.weight_bytes + unit.gradient_bytes + unit.optimizer_bytes
    return held + unit.saved_activation_bytes


def _time(first: UnitPart | None, second: UnitPart | None, batch_size: int | None) -> Change:
    timings = [_timing(unit, batch_size) for unit in (first, second)]
    values = [
        None if t is None else t.forward_cpu.expected_s + t.backward_cpu.expected_s for t in timings
    ]
    spread = sum(t.forward_cpu.spread_s + t.backward_cpu.spread_s for t in timings if t is not None)
    return Change(first=values[0], second=values[1], spread=spread)


def _timing(unit: UnitPart | None, batch_size: int | None) -> Timing | None:
    found = () if unit is None else unit.timings
    return next((timing for timing in found if timing.batch_size == batch_size), None)


def _common_batch_size(parts: Sequence[dict[str, UnitPart]]) -> int | None:
    sizes = [{t.batch_size for unit in part.values() for t in unit.timings} for part in parts]
    return min(set.intersection(*sizes), default=None)


def _device(first: DevicePart | None, second: DevicePart | None) -> dict[str, Change]:
    if first is None or second is None:
        return {}
    return {
        name: Change(first=read(first), second=read(second)) for name, (read, _) in _DEVICE.items()
    }
