"""Geometry of the charts in a report: figures to pixels, ticks, and paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Bar", "Dot", "LineChart", "Series", "Tick", "bars", "line_chart", "ticks"]

_WIDTH, _HEIGHT = 480, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 30
_NEGLIGIBLE = 1e-300
"""Below it a division leaves no digits to place ticks with."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    """Pixels from the chart's left or top."""
    label: str


@dataclass(frozen=True)
class Dot:
    """A point of a line."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Series:
    """A line with its points."""

    name: str
    dots: tuple[Dot, ...]

    @property
    def path(self) -> str:
        """The line as the ``points`` of an SVG polyline."""
        return " ".join(f"{dot.x},{dot.y}" for dot in self.dots)


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Lines over whole numbers (rounds), in pixels."""

    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    bottom: int = _HEIGHT - _BOTTOM
    series: tuple[Series, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def line_chart(
    lines: Mapping[str, Sequence[tuple[int, float]]],
    label: Callable[[float], str],
    *,
    y_max: float | None = None,
    x_name: str = "round",
) -> LineChart:
    """A chart of lines that start at zero.

    Args:
        lines: Points of each line, by its name; empty lines are left out.
        label: How a value is written.
        y_max: Upper end of the vertical axis; by default the largest value.
        x_name: What the whole numbers count.
    """
    drawn = {name: points for name, points in lines.items() if points}
    xs = [x for points in drawn.values() for x, _ in points]
    x_marks = sorted({round(mark) for mark in ticks(max(xs, default=1), 8)})
    y_marks = ticks(y_max or max((y for p in drawn.values() for _, y in p), default=1.0), 4)
    x_end, y_end = max(x_marks[-1], 1), y_marks[-1]

    def across(x: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * x / x_end, 1)

    def down(y: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * y / y_end, 1)

    series = (
        Series(name, tuple(Dot(across(x), down(y), f"{x_name} {x}: {label(y)}") for x, y in points))
        for name, points in drawn.items()
    )
    return LineChart(
        series=tuple(series),
        x_ticks=tuple(Tick(across(x), str(x)) for x in x_marks),
        y_ticks=tuple(Tick(down(y), label(y)) for y in y_marks),
    )


def ticks(largest: float, count: int) -> list[float]:
    """About ``count`` round steps (1, 2, 2.5 or 5 times a power of ten) from zero to the largest
    value or just beyond."""
    if largest < _NEGLIGIBLE:
        return [0.0, 1.0]
    rough = largest / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-9))
    return [step * index for index in range(math.ceil(largest / step - 1e-9) + 1)]


@dataclass(frozen=True)
class Bar:
    """A horizontal bar."""

    label: str
    percent: float
    """Length, of the longest."""
    text: str
    series: int = 0
    limit_percent: float | None = None
    """Where a limit stands, on the same scale, if it is on it."""


def bars(rows: Sequence[tuple[str, float, str]], *, distinct: bool = False) -> tuple[Bar, ...]:
    """Bars on one scale.

    Args:
        rows: Label, value and text of each bar.
        distinct: Whether each bar has a colour of its own.
    """
    longest = max((value for _, value, _ in rows), default=0) or 1
    return tuple(
        Bar(label, round(100 * value / longest, 2), text, index if distinct else 0)
        for index, (label, value, text) in enumerate(rows)
    )
