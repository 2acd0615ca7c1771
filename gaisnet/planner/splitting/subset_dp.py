"""Subset dynamic programme: exact for up to a dozen devices, by another way than the searches.

best[mask][n,j] is the best chain over units 0..j that uses exactly the devices of ``mask`` and
ends on n. With (+, min) it minimises an additive cost, with (max, min) the longest stage.
O(2^N N (N L + L^2)).
"""

from __future__ import annotations

import math

import numpy as np

from gaisnet.planner.splitting.budget import Found
from gaisnet.planner.splitting.instance import FloatArray
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["MOST_DEVICES", "SubsetProgramme"]

MOST_DEVICES = 12


class SubsetProgramme:
    """Fill the table forward, then trace the best chain back."""

    def __init__(self, tables: ChainTables, *, longest_stage: bool) -> None:
        """Minimise the longest stage if ``longest_stage``, else the additive cost.

        Raises:
            ValueError: There are more than ``MOST_DEVICES`` devices.
        """
        if tables.devices > MOST_DEVICES:
            raise ValueError(f"subset DP takes {MOST_DEVICES} devices, got {tables.devices}")
        self._tables = tables
        self._join = np.maximum if longest_stage else np.add
        self._segment = tables.segment_stage if longest_stage else tables.segment_cost
        self._cut = tables.cut_stage if longest_stage else tables.cut_cost
        self._floor = tables.floor_s if longest_stage else 0.0

    def run(self, cutoff: float = math.inf) -> Found:
        """The best chain if it is better than ``cutoff``."""
        best = self._fill()
        ends = best[:, :, -1]
        mask, n = np.unravel_index(int(ends.argmin()), ends.shape)
        value = max(float(ends[mask, n]), self._floor)
        if not value < cutoff:
            return Found(None, cutoff, cutoff)
        return Found(self._trace(best, int(mask), int(n)), value, value)

    def _fill(self) -> FloatArray:
        """``[2^N, N, L]`` best values; every mask is complete before a larger one is filled."""
        count, units = self._tables.devices, self._tables.units
        best = np.full((1 << count, count, units), np.inf)
        for n in range(count):
            best[1 << n, n] = self._segment[n, 0]
        for mask in range(1, 1 << count):
            if mask.bit_count() >= self._tables.max_segments or units == 1:
                continue
            unused = [m for m in range(count) if not mask >> m & 1]
            arrive = self._arrive(best[mask])[unused]
            reached = self._join(arrive[:, :, None], self._segment[unused, 1:, :]).min(axis=1)
            for m, values in zip(unused, reached, strict=True):
                best[mask | 1 << m, m] = np.minimum(best[mask | 1 << m, m], values)
        return best

    def _arrive(self, ending: FloatArray) -> FloatArray:
        """``[N, L-1]`` best value with which device m can begin after unit j."""
        arrive: FloatArray = self._join(ending[:, None, :-1], self._cut).min(axis=0)
        return arrive

    def _trace(self, best: FloatArray, mask: int, n: int) -> list[Segment]:
        path: list[Segment] = []
        j = self._tables.units - 1
        while True:
            if best[mask, n, j] == self._segment[n, 0, j] and mask == 1 << n:
                return [(n, 0, j), *path]
            rest = mask & ~(1 << n)
            arrive = self._join(best[rest][:, :-1], self._cut[:, n, :])
            through = self._join(arrive.min(axis=0), self._segment[n, 1:, j])
            i = int(through.argmin()) + 1
            path.insert(0, (n, i, j))
            n, mask, j = int(arrive[:, i - 1].argmin()), rest, i - 1
