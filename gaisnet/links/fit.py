"""Latency and bandwidth from timed transfers, by a line that outliers do not bend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaisnet.schema.link import LinkRate, TransferTime

__all__ = ["Round", "fit_rate", "slope", "spread"]

Round = dict[int, float]
"""Seconds of one transfer of each size, by its bytes."""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Weighted Theil–Sen slope of ``(x, y)``.

    The median of the slopes of all pairs, each weighted by its distance in x (Sievers, "Weighted
    rank statistics for simple linear regression", JASA 73(363), 1978), so that two small sizes,
    whose difference is mostly jitter, say less than a small and a large one.

    Raises:
        ValueError: There are not two different x.
    """
    x, y = np.asarray(points, dtype=float).T
    first, second = np.triu_indices(len(x), 1)
    apart = np.abs(x[second] - x[first])
    kept = apart > 0
    if not kept.any():
        raise ValueError("a slope needs two different sizes")
    slopes = ((y[second] - y[first]) / np.where(kept, x[second] - x[first], 1))[kept]
    order = np.argsort(slopes)
    reached = np.cumsum(apart[kept][order])
    return float(slopes[order][np.searchsorted(reached, reached[-1] / 2)])


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Median, and half the distance between the first and the third quartile."""
    low, middle, high = np.percentile(np.asarray(values, dtype=float), [25, 50, 75])
    return float(middle), float((high - low) / 2)


def fit_rate(rounds: Sequence[Round]) -> LinkRate:
    """The bandwidth of one direction.

    Seconds of a transfer are a round trip plus bytes over bandwidth; the slope over all rounds is
    the figure, the slopes of single rounds give its spread.

    Args:
        rounds: At least one; each with the same two or more sizes.
    """
    points = [(float(size), seconds) for each in rounds for size, seconds in each.items()]
    single = [slope([(float(n), s) for n, s in each.items()]) for each in rounds]
    overall = _bits_per_s(slope(points), rounds)
    _, half_width = spread([_bits_per_s(value, rounds) for value in single])
    return LinkRate(
        bandwidth_bits_per_s=overall,
        spread_bits_per_s=half_width,
        transfers=tuple(_transfer(size, [each[size] for each in rounds]) for size in rounds[0]),
    )


def _bits_per_s(seconds_per_byte: float, rounds: Sequence[Round]) -> float:
    """Where jitter hides the slope, the largest transfer over its whole time: a lower bound."""
    if seconds_per_byte > 0:
        return 8 / seconds_per_byte
    largest = max(rounds[0])
    return 8 * largest / max(min(each[largest] for each in rounds), 1e-9)


def _transfer(size: int, seconds: Sequence[float]) -> TransferTime:
    median_s, spread_s = spread(seconds)
    return TransferTime(
        payload_bytes=size, median_s=median_s, spread_s=spread_s, samples=len(seconds)
    )
