"""Side constraints that no table of segments and cuts can hold: they look at a chain as a whole.

Forbidden devices, privacy tiers, leaking cuts and co-located units are not here: what they rule
out costs infinity in the tables (``instance.translate``, ``tables.chain_tables``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from gaisnet.planner.splitting.arrays import FloatArray
from gaisnet.planner.splitting.broken import BUDGET_TOLERANCE
from gaisnet.planner.splitting.solution import Segment

__all__ = ["NO_RULES", "Allowance", "SideRules", "segment_sums"]


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """A sum over the segments and cuts of a chain, and the most that it may be."""

    name: str
    segment: FloatArray
    """``[N, L, L]`` of device n holding units i..j, entry and exit included."""
    cut: FloatArray
    """``[N, N, L-1]`` of the cut after unit j from n to m."""
    limit: float

    def spent(self, path: Sequence[Segment]) -> float:
        """The sum over a chain."""
        total = sum(float(self.segment[segment]) for segment in path)
        for (n, _, j), (m, _, _) in pairwise(path):
            total += float(self.cut[n, m, j])
        return total

    @property
    def most(self) -> float:
        """The limit with its tolerance."""
        return self.limit + abs(self.limit) * BUDGET_TOLERANCE


@dataclass(frozen=True, kw_only=True)
class SideRules:
    """Rules on the set of rows that a chain uses, and on sums over it."""

    forced: tuple[int, ...] = ()
    """Rows that are used."""
    together: tuple[tuple[int, ...], ...] = ()
    """Of each set all are used, or none."""
    apart: tuple[tuple[int, ...], ...] = ()
    """Of each set at most one is used."""
    allowances: tuple[Allowance, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.forced or self.together or self.apart or self.allowances)

    @property
    def named(self) -> frozenset[int]:
        """Rows that some rule tells from others."""
        return frozenset(
            (*self.forced, *(row for rows in (*self.together, *self.apart) for row in rows))
        )

    def missing(self, used: int) -> int:
        """Rows that still have to be used, given the bit mask ``used``; -1: beyond repair."""
        for rows in self.apart:
            if sum(used >> row & 1 for row in rows) > 1:
                return -1
        wanted = set(self.forced)
        while True:
            everyone = wanted.union(
                *(rows for rows in self.together if any(_in(row, used, wanted) for row in rows))
            )
            if everyone == wanted:
                return sum(1 for row in wanted if not used >> row & 1)
            wanted = everyone

    def allow(self, path: Sequence[Segment]) -> bool:
        """Whether a whole chain satisfies every rule."""
        used = 0
        for row, _, _ in path:
            used |= 1 << row
        if self.missing(used) != 0:
            return False
        return all(each.spent(path) <= each.most for each in self.allowances)


def _in(row: int, used: int, wanted: set[int]) -> bool:
    return bool(used >> row & 1) or row in wanted


def segment_sums(per_unit: FloatArray) -> FloatArray:
    """``[N, L, L]`` sums over units i..j, added from i on as an evaluation would; 0 for i > j."""
    count, units = per_unit.shape
    sums = np.zeros((count, units, units))
    for i in range(units):
        sums[:, i, i:] = np.cumsum(per_unit[:, i:], axis=1)
    return sums


NO_RULES = SideRules()
