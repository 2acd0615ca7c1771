"""What rounds are worth: the family of utility curves fitted to a run's losses.

``U(r) = A (1 - (1 + r / R) ** -g)`` is what the loss has fallen by after ``r`` rounds. The sum of
absolute distances is minimised, so that single wild rounds do not bend the curve: over a grid of
R and g that closes in on its best point, with the best A of each in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from gaisnet.planner.calibration.robust import weighted_quantile
from gaisnet.schema.run import RoundMetrics
from gaisnet.schema.run_calibration import LossFit

__all__ = ["fit_loss"]

FEWEST_POINTS = 3
STEPS = 13
ZOOMS = 12
DIGITS = 9
SCALES = (0.05, 500.0)
"""Rounds: R is looked for between these."""
EXPONENTS = (0.05, 8.0)


def fit_loss(rounds: Sequence[RoundMetrics], before: float | None) -> LossFit | None:
    """The curve of the held-out loss, or of the training loss where there is no other.

    Args:
        rounds: Of a run.
        before: Held-out loss before the first; without it the training loss is taken, whose first
            value counts as that of round 0.

    Returns:
        None where there are fewer than three later points or the loss has not fallen.
    """
    held_out = [(m.round + 1.0, m.eval_loss) for m in rounds if m.eval_loss is not None]
    if before is not None and len(held_out) >= FEWEST_POINTS:
        return _fit("held_out", before, held_out)
    trained = [(float(m.round), m.train_loss) for m in rounds if m.train_loss is not None]
    if len(trained) > FEWEST_POINTS:
        first = trained[0]
        return _fit("training", first[1], [(r - first[0], loss) for r, loss in trained[1:]])
    return None


def _fit(kind: str, initial: float, points: Sequence[tuple[float, float]]) -> LossFit | None:
    fallen = [(r, initial - loss) for r, loss in points]
    if sum(value for _, value in fallen) <= 0.0:
        return None
    ranges, best = [SCALES, EXPONENTS], (float("inf"), 0.0, 0.0, 0.0)
    for _ in range(ZOOMS):
        grids = [_grid(*limits) for limits in ranges]
        pairs = product(grids[0], grids[1])
        found = (_distance(fallen, scale, exponent, initial) for scale, exponent in pairs)
        best = min([best, *found])
        ranges = [
            _around(best[place], grid, limits)
            for place, grid, limits in zip((1, 2), grids, (SCALES, EXPONENTS), strict=True)
        ]
    distance, best_scale, best_exponent, amplitude = best
    if amplitude <= 0.0:
        return None
    return LossFit.model_validate(
        {
            "kind": kind,
            "initial_loss": initial,
            "amplitude": _rounded(amplitude),
            "scale_rounds": _rounded(best_scale),
            "exponent": _rounded(best_exponent),
            "points": len(points),
            "residual": _rounded(distance / len(points)),
        }
    )


def _grid(low: float, high: float) -> list[float]:
    """Steps of equal ratio."""
    return [low * (high / low) ** (step / (STEPS - 1)) for step in range(STEPS)]


def _around(
    value: float, grid: Sequence[float], limits: tuple[float, float]
) -> tuple[float, float]:
    """Two steps to both sides of the best value so far."""
    ratio = (grid[1] / grid[0]) ** 2
    return max(limits[0], value / ratio), min(limits[1], value * ratio)


def _distance(
    fallen: Sequence[tuple[float, float]], scale: float, exponent: float, most: float
) -> tuple[float, float, float, float]:
    """Sum of distances with the best amplitude: the median of ``u / s``, weighted by ``s``.

    It is at most ``most``: no loss falls below zero.
    """
    shape = [1.0 - (1.0 + r / scale) ** -exponent for r, _ in fallen]
    ratios = [(u / s, s) for (_, u), s in zip(fallen, shape, strict=True)]
    amplitude = min(most, weighted_quantile(ratios, 0.5))
    parts = zip(fallen, shape, strict=True)
    return sum(abs(u - amplitude * s) for (_, u), s in parts), scale, exponent, amplitude


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
