"""Geometry of the charts of a profile: columns per unit, and points between logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gaisnet.report.charts import Tick, ticks

__all__ = [
    "Column",
    "Columns",
    "Mark",
    "Point",
    "Points",
    "Scale",
    "columns",
    "log_ticks",
    "points",
]

_WIDTH, _HEIGHT = 480, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 22, 20, 30
_FEW_DECADES = 1.5
_FEW_DOUBLINGS = 5
_MARGIN = 1.25
_MOST_LABELS = 12


@dataclass(frozen=True)
class Column:
    """A piece of a stacked column, in pixels."""

    x: float
    y: float
    width: float
    height: float
    series: int
    title: str


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Stacked columns, one a unit."""

    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    bottom: int = _HEIGHT - _BOTTOM
    name: str
    series: tuple[str, ...]
    columns: tuple[Column, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def columns(
    name: str,
    units: Sequence[str],
    series: Mapping[str, Sequence[float]],
    label: Callable[[float], str],
    *,
    binary: bool = False,
) -> Columns:
    """A chart of stacked columns.

    Args:
        name: What it shows.
        units: Names of the units.
        series: By name, the value of each unit; stacked in this order.
        label: How a value is written.
        binary: Whether the values are bytes, with ticks at round numbers of KiB, MiB, ….
    """
    totals = [sum(values) for values in zip(*series.values(), strict=True)]
    marks = _ticks(max(totals, default=0), 4, binary)
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(units))
    tall = (_HEIGHT - _TOP - _BOTTOM) / marks[-1]
    pieces = []
    for index, unit in enumerate(units):
        base = float(_HEIGHT - _BOTTOM)
        for number, (part, values) in enumerate(series.items()):
            height = values[index] * tall
            base -= height
            title = f"{unit}, {part}: {label(values[index])}"
            x, wide = _LEFT + (index + 0.12) * width, 0.76 * width
            x, y, wide, high = (round(each, 2) for each in (x, base, wide, height))
            pieces.append(Column(x, y, wide, high, number, title))
    every = max(1, math.ceil(len(units) / _MOST_LABELS))
    return Columns(
        name=name,
        series=tuple(series),
        columns=tuple(piece for piece in pieces if piece.height > 0),
        x_ticks=tuple(
            Tick(round(_LEFT + (index + 0.5) * width, 1), str(index))
            for index in range(0, len(units), every)
        ),
        y_ticks=tuple(
            Tick(round(_HEIGHT - _BOTTOM - mark * tall, 1), label(mark)) for mark in marks
        ),
    )


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An axis: values to pixels."""

    low: float
    high: float
    start: float
    """Pixels of the low end."""
    end: float
    logarithmic: bool

    def at(self, value: float) -> float:
        """Where a value stands; values outside stand at the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


@dataclass(frozen=True)
class Point:
    """A point to be drawn, in the axes' own units."""

    x: float
    y: float
    title: str
    series: int = 0
    name: str = ""
    """Written beside it."""


@dataclass(frozen=True)
class Mark:
    """A point in pixels."""

    x: float
    y: float
    title: str
    series: int
    name: str


@dataclass(frozen=True, kw_only=True)
class Points:
    """Points, and a line (a roof, or a limit), in pixels."""

    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    bottom: int = _HEIGHT - _BOTTOM
    name: str
    marks: tuple[Mark, ...]
    joined: bool
    """Whether the points are joined in order."""
    line: str = ""
    """The ``points`` of an SVG polyline."""
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def path(self) -> str:
        """The points as those of an SVG polyline."""
        return " ".join(f"{mark.x},{mark.y}" for mark in self.marks)


def points(
    name: str,
    found: Sequence[Point],
    labels: tuple[Callable[[float], str], Callable[[float], str]],
    *,
    line: Sequence[tuple[float, float]] = (),
    log: tuple[bool, bool] = (True, True),
    binary: bool = False,
    joined: bool = False,
) -> Points:
    """A chart of points.

    Args:
        name: What it shows.
        found: The points; on a logarithmic axis all values are positive.
        labels: How values of the two axes are written.
        line: Corners of the line.
        log: Which axes are logarithmic; others go from 0 to at least 1.
        binary: Whether the vertical axis is of bytes.
        joined: Whether the points are joined in order.
    """
    every = [(p.x, p.y) for p in found] + list(line)
    marks = [
        _log_axis(values, bytes_here) if logarithmic else ticks(max(1.0, *values), 5)
        for values, logarithmic, bytes_here in zip(
            zip(*every, strict=True), log, (False, binary), strict=True
        )
    ]
    ends = ((_LEFT, _WIDTH - _RIGHT), (_HEIGHT - _BOTTOM, _TOP))
    across, down = (
        Scale(low=m[0], high=m[-1], start=s, end=e, logarithmic=logarithmic)
        for m, (s, e), logarithmic in zip(marks, ends, log, strict=True)
    )
    return Points(
        name=name,
        marks=tuple(Mark(across.at(p.x), down.at(p.y), p.title, p.series, p.name) for p in found),
        joined=joined,
        line=" ".join(f"{across.at(x)},{down.at(y)}" for x, y in line),
        x_ticks=tuple(Tick(across.at(mark), labels[0](mark)) for mark in marks[0]),
        y_ticks=tuple(Tick(down.at(mark), labels[1](mark)) for mark in marks[1]),
    )


def _ticks(largest: float, count: int, binary: bool) -> list[float]:
    """Round steps from zero; of bytes in the unit that they are written in."""
    unit = 1.0
    while binary and largest >= 1024 * unit:
        unit *= 1024
    return [unit * mark for mark in ticks(largest / unit, count)]


def _log_axis(values: Sequence[float], binary: bool) -> list[float]:
    """Ticks with a margin around the values, for the names of the points."""
    low, high = min(values) / _MARGIN, max(values) * _MARGIN
    return binary_ticks(low, high) if binary else log_ticks(low, high)


def binary_ticks(low: float, high: float) -> list[float]:
    """Powers of two around two positive values, about six."""
    first, last = math.floor(math.log2(low)), math.ceil(math.log2(high))
    every = max(1, math.ceil((last - first) / _FEW_DOUBLINGS))
    return [2.0**power for power in range(first, max(last, first + 1) + every, every)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten around two positive values; over few decades also their 2nd and 5th parts."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    if math.log10(high / low) <= _FEW_DECADES:
        fine = [m * 10.0**p for p in range(first, last + 1) for m in (1, 2, 5)]
        start = max(index for index, mark in enumerate(fine) if mark <= low * (1 + 1e-9))
        stop = min(index for index, mark in enumerate(fine) if mark >= high * (1 - 1e-9))
        return fine[start : max(stop, start + 1) + 1]
    every = max(1, math.ceil((last - first) / 6))
    return [10.0**power for power in range(first, last + every, every)]
