"""All subsets of the members that may be a cluster, by their bits.

Sums over the members of 2^N subsets are outer sums of two tables of 2^(N/2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaisnet.planner.clustering.bounds import pair_floors
from gaisnet.planner.clustering.terms import ClusterArrays, FloatArray, IntArray, Subset, violations

__all__ = ["Subsets"]

SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class Subsets:
    """``[S]`` subsets with what they add to the objective."""

    codes: IntArray
    """Bit i stands for member i."""
    cost: FloatArray
    """Labels and pairs, which add up over clusters."""
    shortfall: FloatArray
    """Of speed; the largest one counts."""
    count: int
    """N."""

    @classmethod
    def of(cls, data: ClusterArrays, most: float) -> Subsets:
        """Those that satisfy all constraints and may be part of a partition of at most ``most``.

        Besides its own cost a subset S has the rest to pay: labels at least once more (deviations
        add up to 0), pairs by ``pair_floors``, and the speed that S leaves to the others.
        """
        scan = _Scan(data, most)
        found = [scan.block(code) for code in range(2**scan.high)]
        codes, cost, shortfall = (np.concatenate(part) for part in zip(*found, strict=True))
        return cls(codes=codes, cost=cost, shortfall=shortfall, count=data.members)

    def members(self, s: int) -> IntArray:
        """Who is in subset ``s``."""
        inside: IntArray = np.flatnonzero((int(self.codes[s]) >> np.arange(self.count)) & 1)
        return inside

    def total(self, values: FloatArray) -> FloatArray:
        """``[S]`` sum of ``[N]`` values over the members of each subset."""
        low = self.count // 2
        here, there = _table(low) @ values[:low], _table(self.count - low) @ values[low:]
        summed: FloatArray = here[self.codes & (2**low - 1)] + there[self.codes >> low]
        return summed


def _table(bits: int) -> FloatArray:
    """``[2^bits, bits]`` every subset's members as ones."""
    table: FloatArray = ((np.arange(2**bits)[:, None] >> np.arange(bits)) & 1).astype(np.float64)
    return table


class _Scan:
    """Goes through all subsets, in blocks of those that have the same upper members."""

    def __init__(self, data: ClusterArrays, most: float) -> None:
        self._data, self._most = data, most
        self.low = low = data.members // 2
        self.high = data.members - low
        self._table = _table(low)
        ones = np.ones(data.members)
        self._floors, self._price = pair_floors(data)
        columns = (data.capacity, data.owner, ones, data.speed, self._floors, data.deviation)
        self._each = np.column_stack(columns)
        self._sums = self._table @ self._each[:low]
        self._apart = bool(data.unreachable.any())
        self._within = {id(m): self._inside(m) for m in (data.pair_cost, data.unreachable)}

    def _inside(self, matrix: FloatArray) -> FloatArray:
        """Pairs among the lower members."""
        reach = self._table @ matrix[: self.low, : self.low]
        inside: FloatArray = (self._table * reach).sum(axis=1) / 2.0
        return inside

    def _pairs(self, matrix: FloatArray, above: IntArray) -> FloatArray:
        between = self._table @ matrix[: self.low, above].sum(axis=1)
        pairs: FloatArray = self._within[id(matrix)] + between
        pairs += float(matrix[np.ix_(above, above)].sum()) / 2.0
        return pairs

    def block(self, code: int) -> tuple[IntArray, FloatArray, FloatArray]:
        """Subsets whose upper members are those of ``code``: codes, cost, shortfall."""
        data, clusters = self._data, self._data.clusters
        above = self.low + np.flatnonzero((code >> np.arange(self.high)) & 1)
        total = self._sums + self._each[above].sum(axis=0)
        capacity, owner, size, speed, floors = total[:, :5].T
        apart = self._pairs(data.unreachable, above) if self._apart else np.zeros(len(total))
        sums = Subset(capacity=capacity, owner=owner, size=size, unreachable=apart)
        labels = data.label_cost(total[:, 5:])
        cost = labels + self._pairs(data.pair_cost, above)
        shortfall = np.maximum(1.0 - speed, 0.0)
        least = cost + data.weights[1] * shortfall
        if clusters > 1:
            others = np.maximum(shortfall, 1.0 - (clusters - speed) / (clusters - 1))
            rest = self._floors.sum() - floors - self._price * (clusters - 1)
            least = cost + labels + np.maximum(rest, 0.0) + data.weights[1] * others
        keep = np.flatnonzero(
            (violations(data, sums) == 0.0) & (size > 0) & (least <= self._most + SLACK)
        )
        return keep + (code << self.low), cost[keep], shortfall[keep]
