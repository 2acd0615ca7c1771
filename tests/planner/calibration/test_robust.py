"""Statistics and curves: they find what the points were made from, wild ones notwithstanding."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner.calibration.loss import fit_loss
from gaisnet.planner.calibration.robust import line, weighted_quantile
from gaisnet.schema.run import RoundMetrics

POSITIVE = st.floats(0.01, 100.0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-10, 10), st.integers(1, 5)), min_size=1, max_size=12))
def test_the_weighted_median_is_that_of_values_written_out(
    values: list[tuple[float, int]],
) -> None:
    written_out = sorted(v for v, times in values for _ in range(times))
    middle = written_out[(len(written_out) - 1) // 2]
    assert weighted_quantile([(v, float(w)) for v, w in values], 0.5) == middle


@settings(deadline=None)
@given(
    POSITIVE,
    POSITIVE,
    st.lists(st.integers(1, 1000), min_size=5, max_size=12, unique=True),
    st.floats(-1e6, 1e6),
)
def test_a_line_is_found_although_one_point_is_wild(
    slope: float, intercept: float, sizes: list[int], wild: float
) -> None:
    points = [(float(x), intercept + slope * x) for x in sorted(sizes)]
    points[2] = (points[2][0], wild)
    found = line(points)
    assert found is not None
    # Of a few points a third of the weight may lie on pairs with the wild one, not a half.
    if len(points) >= 8:
        assert found[1] == pytest.approx(slope, rel=1e-6)
        assert found[0] == pytest.approx(intercept, rel=1e-6, abs=1e-6 * slope * max(sizes))


def test_one_size_makes_no_line() -> None:
    assert line([(5.0, 1.0), (5.0, 2.0)]) is None
    assert line([(5.0, 1.0)]) is None


def rounds_of(losses: list[float], *, held_out: bool = True) -> list[RoundMetrics]:
    field = "eval_loss" if held_out else "train_loss"
    return [
        RoundMetrics.model_validate(
            {"round": r, "predicted_s": 1.0, "virtual_s": 1.0, "wall_s": 1.0, field: loss}
        )
        for r, loss in enumerate(losses)
    ]


def curve(amplitude: float, scale: float, exponent: float, r: float) -> float:
    return amplitude * (1.0 - (1.0 + r / scale) ** -exponent)


@pytest.mark.parametrize(("scale", "exponent"), [(2.0, 1.0), (8.0, 0.5), (0.7, 2.0)])
def test_a_loss_curve_is_found_again_although_a_round_is_wild(
    scale: float, exponent: float
) -> None:
    losses = [3.0 - curve(2.0, scale, exponent, r) for r in range(1, 25)]
    losses[6] += 1.5
    found = fit_loss(rounds_of(losses), 3.0)
    assert found is not None
    assert (found.kind, found.points) == ("held_out", 24)
    later = [3.0 - curve(2.0, scale, exponent, r) for r in range(25, 40)]
    for r, expected in enumerate(later, 25):
        value = found.initial_loss - curve(
            found.amplitude, found.scale_rounds, found.exponent, float(r)
        )
        assert value == pytest.approx(expected, abs=0.02)
    assert found.residual == pytest.approx(1.5 / 24, abs=0.01)


def test_without_held_out_losses_the_training_loss_is_fitted_from_its_first() -> None:
    losses = [3.0 - curve(2.0, 2.0, 1.0, float(r)) for r in range(12)]
    found = fit_loss(rounds_of(losses, held_out=False), None)
    assert found is not None
    assert found.kind == "training"
    assert found.initial_loss == 3.0
    assert found.residual < 1e-3


def test_no_curve_is_made_of_too_little_or_of_a_loss_that_rises() -> None:
    assert fit_loss(rounds_of([2.0, 1.9]), 2.5) is None
    assert fit_loss(rounds_of([3.0, 3.5, 4.0, 5.0]), 2.5) is None
    assert fit_loss(rounds_of([1.0, 2.0], held_out=False), None) is None


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.0, 2.9), min_size=3, max_size=6))
def test_no_curve_falls_below_zero(losses: list[float]) -> None:
    found = fit_loss(rounds_of(losses), 3.0)
    assert found is None or found.amplitude <= 3.0
