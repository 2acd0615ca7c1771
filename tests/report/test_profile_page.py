"""The charts of a profile, and the page that carries them."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.report import report_html
from gaisnet.report.profile_page import profile_charts
from gaisnet.report.unit_charts import (
    Point,
    Scale,
    binary_ticks,
    columns,
    log_ticks,
    points,
)
from gaisnet.schema.leakage import LeakageRow
from gaisnet.schema.profile import Profile
from tests.report import subjects
from tests.report.test_views import Page

positive = st.floats(1e-9, 1e15)


def row(unit: int, error: float, auc: float | None) -> LeakageRow:
    return LeakageRow(
        unit=unit,
        samples=64,
        distance_correlation=0.9,
        distance_correlation_null=0.2,
        inversion_error=error,
        inversion_error_stderr=0.01,
        attack="ridge",
        label_auc_norm=auc,
        label_auc_cosine=auc,
    )


def leaking() -> Profile:
    profile = subjects.profile()
    assert profile.model is not None
    rows = (row(0, 0.1, None), row(1, 1.02, 0.75))
    return profile.model_copy(update={"model": profile.model.model_copy(update={"leakage": rows})})


@settings(deadline=None, max_examples=50)
@given(positive, positive)
def test_logarithmic_ticks_enclose_the_values_and_are_few(one: float, other: float) -> None:
    low, high = sorted((one, other))
    for marks in (log_ticks(low, high), binary_ticks(low, high)):
        assert marks == sorted(set(marks))
        assert 2 <= len(marks) <= 9
        assert marks[0] <= low * (1 + 1e-9)
        assert marks[-1] >= high * (1 - 1e-9)
        assert all(math.isfinite(mark) and mark > 0 for mark in marks)


def test_a_scale_puts_decades_at_equal_distances() -> None:
    scale = Scale(low=1, high=1000, start=0, end=300, logarithmic=True)
    assert [scale.at(value) for value in (1, 10, 100, 1000, 5000)] == [0, 100, 200, 300, 300]
    linear = Scale(low=0, high=10, start=100, end=0, logarithmic=False)
    assert [linear.at(value) for value in (0, 5, 10)] == [100, 50, 0]


def test_columns_stand_on_each_other_and_are_as_tall_as_their_values() -> None:
    chart = columns("x", ["a", "b"], {"s": [1.0, 2.0], "t": [3.0, 0.0]}, str)
    first, second, third = chart.columns
    assert second.height == pytest.approx(3 * first.height, abs=0.05)
    assert third.height == pytest.approx(2 * first.height, abs=0.05)
    assert first.y + first.height == pytest.approx(chart.bottom, abs=0.05)
    assert second.y + second.height == pytest.approx(first.y, abs=0.05)
    assert second.title == "a, t: 3.0"


def test_bytes_have_ticks_at_round_numbers_of_their_unit() -> None:
    chart = columns("x", ["a"], {"s": [800 * 1024.0]}, lambda b: f"{b / 1024:g}", binary=True)
    assert [tick.label for tick in chart.y_ticks] == ["0", "200", "400", "600", "800"]


def test_many_units_have_few_labels_and_all_columns() -> None:
    chart = columns("x", [str(i) for i in range(100)], {"s": 100 * [1.0]}, str)
    assert len(chart.columns) == 100
    assert len(chart.x_ticks) <= 12


def test_points_and_line_share_their_axes() -> None:
    chart = points("x", [Point(10, 10, "p")], (str, str), line=[(10, 10), (1000, 100)])
    assert chart.line.split()[0] == f"{chart.marks[0].x},{chart.marks[0].y}"


def test_cuts_stand_at_the_share_of_compute_before_them_and_at_their_bytes() -> None:
    found = profile_charts(subjects.profile())
    after_embedding, after_block = found["cut_chart"].marks
    chart = found["cut_chart"]
    assert after_embedding.x == pytest.approx(chart.left, abs=0.2)
    assert after_block.x == pytest.approx(chart.right, abs=0.2)
    assert after_embedding.y == after_block.y
    assert "3 KiB" in after_block.title
    raw_y = float(chart.line.split()[0].split(",")[1])
    assert raw_y > after_block.y  # the raw input of 256 bytes is less than what crosses
    assert found["good_cuts"] == ["after emb: 3 KiB with 0.0 % of the compute before it"]


def test_a_unit_stands_under_the_roof_at_its_measured_speed() -> None:
    profile = subjects.profile()
    chart = profile_charts(profile)["roofline"]
    corners = [tuple(map(float, corner.split(","))) for corner in chart.line.split()]
    assert corners[1][1] == corners[2][1]  # flat beyond the ridge
    assert corners[0][1] > corners[1][1]
    block = next(mark for mark in chart.marks if "layers.0" in mark.title)
    moved = 6 * 2**20 + 2 * 3 * 1024
    assert f"{1_000_000 / moved:.3g} FLOP/byte" in block.title
    assert "1 GFLOP/s" in block.title
    assert block.series == 0


def test_what_was_not_timed_is_hollow_on_the_roof_and_has_no_chart_of_times() -> None:
    profile = subjects.profile()
    assert profile.model is not None
    units = tuple(unit.model_copy(update={"timings": ()}) for unit in profile.model.units)
    untimed = profile.model_copy(
        update={"model": profile.model.model_copy(update={"units": units})}
    )
    found = profile_charts(untimed)
    assert {mark.series for mark in found["roofline"].marks} == {1}
    assert len(found["unit_charts"]) == 3
    assert len(profile_charts(profile)["unit_charts"]) == 4
    assert 'class="hollow"' in report_html(untimed)


def test_leakage_is_drawn_where_there_is_some() -> None:
    series = {line.name: line.dots for line in profile_charts(leaking())["leakage_chart"].series}
    assert len(series["inversion error"]) == 2
    assert len(series["label AUC (cosine)"]) == 1
    assert "cut 1" in series["label AUC (cosine)"][0].label
    assert profile_charts(subjects.profile())["leakage_chart"] is None


@pytest.mark.parametrize("part", ["whole", "device", "model", "leaking"])
def test_the_page_of_any_part_is_whole_and_loads_nothing(part: str) -> None:
    whole = subjects.profile()
    profile = {
        "whole": whole,
        "device": Profile(device=whole.device),
        "model": Profile(model=whole.model),
        "leaking": leaking(),
    }[part]
    text = report_html(profile)
    page = Page(text)
    assert page.open == []
    assert page.links == []
    assert not re.search(r"url\(|@import|https?:|<script", text)
    assert ("Roofline" in text) is (part in ("whole", "leaking"))
    assert ("Where to cut" in text) is (part != "device")
    assert ('aria-label="leakage by cut"' in text) is (part == "leaking")
    assert "nan" not in text.lower().replace("gaisnet", "")
