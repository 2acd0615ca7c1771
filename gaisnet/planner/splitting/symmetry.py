"""Devices that are interchangeable, so that only one of each kind has to be tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaisnet.planner.splitting.arrays import FloatArray
from gaisnet.planner.splitting.rules import SideRules
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["Twins", "interchangeable", "interchangeable_under"]


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
    return _classes(tables.devices, _Figures([tables], []), frozenset())


def interchangeable_under(
    tables: Sequence[ChainTables], rules: SideRules, apart: tuple[int, ...] = ()
) -> Twins:
    """The same where several objectives and side constraints must not change either.

    Args:
        tables: Of the same instance, for one or more objectives.
        rules: Devices that they name have no twins; sums must not change.
        apart: Rows that have no twins.
    """
    figures = _Figures(tables, [(each.segment, each.cut) for each in rules.allowances])
    return _classes(tables[0].devices, figures, rules.named | set(apart))


class _Figures:
    """Everything that a swap must not change."""

    def __init__(
        self, tables: Sequence[ChainTables], sums: Sequence[tuple[FloatArray, FloatArray]]
    ) -> None:
        self._segments = [a for t in tables for a in (t.segment_cost, t.segment_stage)]
        self._cuts = [a for t in tables for a in (t.cut_cost, t.cut_stage)]
        self._segments += [segment for segment, _ in sums]
        self._cuts += [cut for _, cut in sums]

    def swappable(self, a: int, b: int) -> bool:
        """Whether swapping devices ``a`` and ``b`` changes nothing."""
        if not all(np.array_equal(segments[a], segments[b]) for segments in self._segments):
            return False
        others = [n for n in range(len(self._segments[0])) if n not in (a, b)]
        return all(
            np.array_equal(cuts[a, b], cuts[b, a])
            and np.array_equal(cuts[a, others], cuts[b, others])
            and np.array_equal(cuts[others, a], cuts[others, b])
            for cuts in self._cuts
        )


def _classes(devices: int, figures: _Figures, alone: frozenset[int]) -> Twins:
    representative = list(range(devices))
    previous = [0] * devices
    latest: dict[int, int] = {}
    for n in range(devices):
        for first in latest:
            if not alone & {first, n} and figures.swappable(first, n):
                representative[n], previous[n] = first, 1 << latest[first]
                break
        latest[representative[n]] = n
    return Twins(tuple(representative), tuple(previous))
