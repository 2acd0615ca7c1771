"""Times of several sides that take turns in one process, so that contention touches them alike."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from functools import partial

__all__ = ["alternate", "in_turns"]


def in_turns(sides: Sequence[Callable[[], Sequence[float]]], turns: int) -> list[float]:
    """Median of what each side says that it took, by whatever unit; a turn more warms them up.

    Their order is another one in every turn, the same in every run: what comes first may wake what
    others share with it.
    """
    taken: list[list[float]] = [[] for _ in sides]
    order, chance = list(range(len(sides))), random.Random(0)
    for turn in range(turns + 1):
        chance.shuffle(order)
        for side in order:
            found = sides[side]()
            taken[side] += found if turn > 0 else []
    return [statistics.median(each) for each in taken]


def alternate(
    sides: Sequence[Callable[[], None]], repeats: int, clock: Callable[[], float]
) -> list[float]:
    """Median seconds of each side, by ``clock``; each is warmed up once."""
    return in_turns([partial(_timed, side, clock) for side in sides], repeats)


def _timed(side: Callable[[], None], clock: Callable[[], float]) -> list[float]:
    started = clock()
    side()
    return [clock() - started]
