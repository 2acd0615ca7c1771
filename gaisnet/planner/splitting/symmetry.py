"""Devices that are interchangeable, so that only one of each kind has to be tried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["Twins", "interchangeable"]


@dataclass(frozen=True)
class Twins:
    """Classes of interchangeable devices, each taken in index order without loss."""

    representative: tuple[int, ...]
    """Per device the lowest index of its class."""
    previous: tuple[int, ...]
    """Per device the bit mask of the class member that has to be used before it, or 0."""

    def available(self, used: int) -> list[int]:
        """Devices worth trying when those of the bit mask ``used`` are taken."""
        return [
            n
            for n, before in enumerate(self.previous)
            if not used >> n & 1 and used & before == before
        ]


def interchangeable(tables: ChainTables) -> Twins:
    """Find the classes: swapping two members changes no segment's and no cut's cost or stage."""
    representative = list(range(tables.devices))
    previous = [0] * tables.devices
    latest: dict[int, int] = {}
    for n in range(tables.devices):
        for first in latest:
            if _swappable(tables, first, n):
                representative[n], previous[n] = first, 1 << latest[first]
                break
        latest[representative[n]] = n
    return Twins(tuple(representative), tuple(previous))


def _swappable(tables: ChainTables, a: int, b: int) -> bool:
    for segments in (tables.segment_cost, tables.segment_stage):
        if not np.array_equal(segments[a], segments[b]):
            return False
    others = [n for n in range(tables.devices) if n not in (a, b)]
    return all(
        np.array_equal(cuts[a, b], cuts[b, a])
        and np.array_equal(cuts[a, others], cuts[b, others])
        and np.array_equal(cuts[others, a], cuts[others, b])
        for cuts in (tables.cut_cost, tables.cut_stage)
    )
