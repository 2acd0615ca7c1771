"""Figures are written with three digits and the unit that fits."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaisnet.report import units
from gaisnet.report.charts import bars, line_chart, ticks
from gaisnet.report.holdings import Holding, holdings, strip
from tests.report import subjects


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (units.as_bytes(0), "0 B"),
        (units.as_bytes(1023), "1023 B"),
        (units.as_bytes(1024), "1 KiB"),
        (units.as_bytes(1.5 * 2**30), "1.5 GiB"),
        (units.as_count(999.9), "1 k"),
        (units.as_count(12), "12"),
        (units.as_flops(3.4e9), "3.4 GFLOP"),
        (units.as_rate(1.95e13), "19.5 TFLOP/s"),
        (units.as_seconds(0), "0 s"),
        (units.as_seconds(4.05e-6), "4.05 µs"),
        (units.as_seconds(0.0123), "12.3 ms"),
        (units.as_seconds(200), "3 min 20 s"),
        (units.as_seconds(7500), "2 h 5 min"),
        (units.as_joules(0.045), "45 mJ"),
        (units.as_joules(3200), "3.2 kJ"),
        (units.as_percent(0.1234), "12.3 %"),
        (units.bar(0.5, 4), "██··"),
        (units.bar(1.7, 4), "████"),
        (units.bar(0.01, 4), "█···"),
        (units.bar(0.0, 4), "····"),
    ],
)
def test_figures_are_short_and_have_their_unit(written: str, text: str) -> None:
    assert written == text


@given(st.floats(1e-9, 1e15), st.integers(2, 10))
def test_ticks_are_even_and_reach_the_largest_value(largest: float, count: int) -> None:
    marks = ticks(largest, count)
    assert marks[0] == 0
    assert marks[-1] >= largest * (1 - 1e-6)
    assert 2 <= len(marks) <= count + 2
    steps = [b - a for a, b in itertools.pairwise(marks)]
    assert max(steps) == pytest.approx(min(steps))


@given(st.lists(st.tuples(st.integers(0, 500), st.floats(0, 1e6)), max_size=20))
def test_every_point_of_a_chart_lies_between_its_axes(points: list[tuple[int, float]]) -> None:
    chart = line_chart({"one": points, "none": []}, str)
    assert [series.name for series in chart.series] == (["one"] if points else [])
    for series in chart.series:
        for dot in series.dots:
            assert chart.left <= dot.x <= chart.right
            assert 0 <= dot.y <= chart.bottom


def test_a_chart_of_nothing_or_next_to_nothing_still_has_axes() -> None:
    for points in ([], [(0, 0.0)], [(0, 5e-324)]):
        assert len(line_chart({"one": points}, str).y_ticks) >= 2


def test_bars_share_one_scale() -> None:
    longest, half, none = bars([("a", 4.0, ""), ("b", 2.0, ""), ("c", 0.0, "")])
    assert (longest.percent, half.percent, none.percent) == (100, 50, 0)


def test_holdings_are_owners_then_body_with_their_units() -> None:
    owner, first, second = holdings(subjects.plan())
    assert (owner.device, owner.role, owner.units) == ("phone", "owner", (0, 1, 9))
    assert owner.spans() == "0–1, 9"
    assert (first.device, first.role, first.spans()) == ("board", "body", "2–5")
    assert (second.device, second.spans()) == ("edge-0", "6–8")
    assert Holding("x", "c", "owner", ()).spans() == "none"


def test_a_strip_shows_where_units_lie_at_any_size() -> None:
    assert strip((0, 1, 9), 10) == "■■·······■"
    assert strip((0,), 96, width=4) == "■···"
    assert strip(tuple(range(96)), 96, width=4) == "■■■■"
