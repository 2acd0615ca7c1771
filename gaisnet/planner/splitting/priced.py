"""Lagrangian bounds of a measure under limits: the limits are priced as well as the devices.

With mu_k >= 0 the price of one unit of limited measure k,

    min over chains of { goal + sum_k mu_k (measure_k - limit_k) }

is at most the goal of every chain within the limits, and what is left is an additive problem,
whose completions ``lagrangian`` bounds. One mu after the other is bisected on whether the path
that attains the bound exceeds the limit: that is the sign of the bound's slope.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from gaisnet.planner.splitting.arrays import FloatArray
from gaisnet.planner.splitting.ascent import improve_prices
from gaisnet.planner.splitting.lagrangian import Completion, completion, no_prices, relaxed_path
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["PricedGoal", "as_parts"]

_PRICE_ROUNDS = 60
_TRIAL_ROUNDS = 15
_BISECTIONS = 10
_DOUBLINGS = 24
_SWEEPS = 2

Part = tuple[FloatArray, FloatArray]
"""Segments and cuts of a measure, infinite where the tables allow nothing."""


class PricedGoal:
    """Lower bounds of one measure after each partial chain."""

    def __init__(
        self, tables: ChainTables, parts: Sequence[Part], goal: int, limits: FloatArray
    ) -> None:
        self._segments = np.array([segment for segment, _ in parts])
        self._cuts = np.array([cut for _, cut in parts])
        self._limits = limits
        self._prices = no_prices(tables)
        self.mix = np.zeros(len(parts))
        self.mix[goal] = 1.0
        limited = [k for k in np.flatnonzero(np.isfinite(limits)) if k != goal]
        for _ in range(_SWEEPS if len(limited) > 1 else 1):
            for k in limited:
                self._bisect(tables, int(k))
        ways = self._ways(tables, _PRICE_ROUNDS)
        self._after = np.ascontiguousarray(ways.after[:, :, 0].T)
        self.offset = float(self.mix[limited] @ limits[limited]) if limited else 0.0
        self._refund: dict[int, float] = {}

    def after(self, n: int, i: int, used: int, left: int) -> FloatArray:
        """Least mixed cost after each last unit from ``i`` on, ``left`` more segments allowed."""
        if used not in self._refund:
            unused = [not used >> m & 1 for m in range(len(self._prices.device))]
            self._refund[used] = float(self._prices.device[unused].sum())
        rest: FloatArray = self._after[n, i:] - self._refund[used] - self._prices.segment * left
        return rest

    def mixed(self, sums: FloatArray) -> FloatArray:
        """``[K, ...]`` sums of all measures, weighted; those without weight may be infinite."""
        weighty = np.flatnonzero(self.mix)
        total: FloatArray = np.tensordot(self.mix[weighty], sums[weighty], axes=1)
        return total

    def _mixed(self, tables: ChainTables) -> ChainTables:
        return replace(
            tables,
            segment_cost=self.mixed(self._segments),
            cut_cost=self.mixed(self._cuts),
        )

    def _ways(self, tables: ChainTables, rounds: int) -> Completion:
        own = self._mixed(tables)
        ascent = improve_prices(own, self._prices, incumbent=math.inf, rounds=rounds)
        self._prices = ascent.prices
        return ascent.ways

    def _over(self, tables: ChainTables, k: int, price: float) -> bool:
        """Whether the path that attains the bound exceeds limit ``k`` at this price."""
        self.mix[k] = price
        ways = self._ways(tables, _TRIAL_ROUNDS)
        if not math.isfinite(ways.bound):
            return False
        segment, cut = self._segments[k], self._cuts[k]
        path = relaxed_path(self._mixed(tables), ways)
        spent = sum(float(segment[each]) for each in path)
        spent += sum(float(cut[a[0], b[0], a[2]]) for a, b in pairwise(path))
        return spent > float(self._limits[k])

    def _bisect(self, tables: ChainTables, k: int) -> None:
        if not self._over(tables, k, 0.0):
            return
        low, high = 0.0, self._first_price(tables, k)
        for _ in range(_DOUBLINGS):
            if not self._over(tables, k, high):
                break
            low, high = high, 4.0 * high
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2.0
            low, high = (middle, high) if self._over(tables, k, middle) else (low, middle)
        self.mix[k] = high

    def _first_price(self, tables: ChainTables, k: int) -> float:
        """What makes the limit weigh as much as the goal does now."""
        self.mix[k] = 0.0
        bound = completion(self._mixed(tables), no_prices(tables)).bound
        return bound / abs(self._limits[k]) if bound > 0.0 and self._limits[k] else 1.0


def as_parts(tables: ChainTables, sums: Sequence[Part]) -> list[Part]:
    """Measures with infinity wherever the tables allow no segment or cut."""
    allowed, linked = np.isfinite(tables.segment_stage), np.isfinite(tables.cut_stage)
    return [
        (np.where(allowed, segment, np.inf), np.where(linked, cut, np.inf)) for segment, cut in sums
    ]
