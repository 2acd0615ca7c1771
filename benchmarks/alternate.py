"""Times of several sides that take turns in one process, so that contention touches them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

__all__ = ["alternate"]


def alternate(
    sides: Sequence[Callable[[], None]], repeats: int, clock: Callable[[], float]
) -> list[float]:
    """Median seconds of each side, by ``clock``; each is warmed up once."""
    times: list[list[float]] = [[] for _ in sides]
    for number in range(repeats + 1):
        for side, taken in zip(sides, times, strict=True):
            started = clock()
            side()
            if number > 0:  # the first is a warm-up
                taken.append(clock() - started)
    return [statistics.median(taken) for taken in times]
