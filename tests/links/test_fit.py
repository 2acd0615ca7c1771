"""The line through timed transfers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.links.fit import fit_rate, slope, spread

SIZES = (1024, 4096, 16384, 65536, 262144)
sizes = st.lists(st.integers(0, 10**8), min_size=2, max_size=12, unique=True)


@settings(deadline=None)
@given(sizes, st.floats(1e-9, 1e-3), st.floats(0, 10))
def test_a_line_is_found_exactly(xs: list[int], rise: float, start: float) -> None:
    points = [(float(x), start + rise * x) for x in xs]
    rounding = 1e-14 * (start + rise * max(xs)) / min(abs(a - b) for a in xs for b in xs if a != b)
    assert slope(points) == pytest.approx(rise, rel=1e-6, abs=rounding)


def test_a_transfer_in_four_that_took_far_too_long_bends_nothing() -> None:
    rounds = [{size: 0.01 + size / 1e6 for size in SIZES} for _ in range(8)]
    for index in (1, 5):
        rounds[index] = {size: seconds + 3 * size for size, seconds in rounds[index].items()}
    rate = fit_rate(rounds)
    assert rate.bandwidth_bits_per_s == pytest.approx(8e6, rel=0.02)
    assert [t.payload_bytes for t in rate.transfers] == list(SIZES)
    assert rate.transfers[0].samples == 8


def test_pairs_far_apart_say_more_than_pairs_close_by() -> None:
    """Three sizes within jitter of each other, and one far away that has the slope."""
    points = [(0.0, 0.0), (1.0, 9.0), (2.0, -9.0), (3.0, 9.0), (1000.0, 1000.0)]
    assert slope(points) == pytest.approx(1, abs=0.02)


def test_the_spread_is_that_of_single_rounds() -> None:
    same = fit_rate(3 * [{1000: 0.1, 2000: 0.2}])
    assert same.spread_bits_per_s == 0
    rounds = [{1000: 0.1, 2000: 0.1 + 8 / rate} for rate in (80, 100, 120, 140, 160)]
    rate = fit_rate(rounds)
    assert rate.bandwidth_bits_per_s == pytest.approx(120 * 1000)
    assert rate.spread_bits_per_s == pytest.approx(20 * 1000)


def test_a_slope_that_jitter_hides_gives_a_lower_bound_of_the_bandwidth() -> None:
    rate = fit_rate([{10: 0.5, 1000: 0.4}, {10: 0.5, 1000: 0.2}])
    assert rate.bandwidth_bits_per_s == pytest.approx(8 * 1000 / 0.2)


def test_one_size_has_no_slope() -> None:
    with pytest.raises(ValueError, match="two different sizes"):
        slope([(5, 1), (5, 2)])


def test_the_spread_of_numbers_is_half_between_quartiles() -> None:
    assert spread([1, 2, 3, 4, 5]) == (3, 1)
