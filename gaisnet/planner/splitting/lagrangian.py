"""Lagrangian bound of the additive objectives: the price of using a device more than once.

The rows "each device at most one segment" and "at most S segments" are priced (pi_n, sigma >= 0);
what is left is a shortest path in a layered graph. With C[n,i,j] the cost of a segment and
t[n,m,j] that of a cut, the costs to completion are

    E[n,j] = min_m { t[n,m,j] + H[m,j+1] },   E[n,L-1] = 0
    H[n,i] = pi_n + sigma + min_j { C[n,i,j] + E[n,j] }

and L(pi, sigma) = min_n H[n,0] - sum(pi) - S sigma is a lower bound, at its best the bound of the
linear relaxation of the segment-flow formulation (Geoffrion 1974: integrality property).
Prices are improved by Polyak's subgradient step.

A few *critical* devices may be kept exact instead of priced: E and H then also depend on the
subset D of them that is used already, and a path may not enter a member of D. That is the
decremental state-space relaxation of vehicle routing (Righini and Salani 2008): with no critical
device it is the bound above, with all of them the subset programme.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaisnet.planner.splitting.budget import Budget
from gaisnet.planner.splitting.instance import FloatArray
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["Completion", "Prices", "completion", "improve_prices", "no_prices", "spare"]


IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Prices:
    """Multipliers of the dualised rows."""

    device: FloatArray
    """``[N]`` pi: price of each use of a device."""
    segment: float = 0.0
    """sigma: price of each segment."""

    def refund(self, max_segments: int) -> float:
        """What the bound gives back: one use of every device, and all segments."""
        return float(self.device.sum()) + self.segment * max_segments


def spare(prices: Prices, critical: tuple[int, ...]) -> Prices:
    """``prices`` without those of the critical devices, which are exact anyway."""
    device = prices.device.copy()
    device[list(critical)] = 0.0
    return Prices(device, prices.segment)


@dataclass(frozen=True)
class Completion:
    """Cheapest priced ways to the end, devices other than the critical ones used at will."""

    after: FloatArray
    """``[2^|critical|, N, L]`` E: critical devices D used, unit j is the last on device n."""
    enter: FloatArray
    """``[2^|critical|, N, L]`` critical devices D used, device n is next and starts with unit i;
    infinite if n is in D."""
    critical: tuple[int, ...]
    bound: float
    """L(pi, sigma); infinite proves that there is no chain at all."""

    def bits(self) -> IntArray:
        """``[N]`` the bit of each device in the subset index; 0 unless critical."""
        return _critical_bits(self.after.shape[1], self.critical)


def no_prices(tables: ChainTables) -> Prices:
    """Everything free: completion is then the plain shortest path."""
    return Prices(np.zeros(tables.devices))


def completion(tables: ChainTables, prices: Prices, critical: tuple[int, ...] = ()) -> Completion:
    """Backward recursion over the layered graph, O(2^|critical| L (N^2 + N L))."""
    shape = (1 << len(critical), tables.devices, tables.units)
    after, enter = np.full(shape, np.inf), np.full(shape, np.inf)
    after[:, :, -1] = 0.0
    fee = prices.device + prices.segment
    bits, devices = _critical_bits(tables.devices, critical), np.arange(tables.devices)
    subsets = np.arange(shape[0])[:, None]
    joined, blocked = subsets | bits, (subsets & bits) > 0
    for i in range(tables.units - 1, -1, -1):
        start = fee + (tables.segment_cost[:, i, i:] + after[:, :, i:]).min(axis=2)
        enter[:, :, i] = np.where(blocked, np.inf, start[joined, devices])
        if i:
            cut = tables.cut_cost[:, :, i - 1]
            after[:, :, i - 1] = (cut + enter[:, None, :, i]).min(axis=2)
    bound = float(enter[0, :, 0].min()) - prices.refund(tables.max_segments)
    return Completion(after, enter, critical, bound)


def _critical_bits(devices: int, critical: tuple[int, ...]) -> IntArray:
    bits: IntArray = np.zeros(devices, dtype=np.intp)
    bits[list(critical)] = 1 << np.arange(len(critical))
    return bits


def relaxed_path(tables: ChainTables, ways: Completion) -> list[Segment]:
    """The path that attains the bound; it may visit uncritical devices more than once."""
    path: list[Segment] = []
    bits = ways.bits()
    used, i = 0, 0
    arrive: FloatArray = np.zeros(tables.devices)
    while True:
        n = int((arrive + ways.enter[used, :, i]).argmin())
        used |= int(bits[n])
        j = i + int((tables.segment_cost[n, i, i:] + ways.after[used, n, i:]).argmin())
        path.append((n, i, j))
        if j == tables.units - 1:
            return path
        arrive, i = tables.cut_cost[n, :, j], j + 1


def is_chain(tables: ChainTables, path: list[Segment]) -> bool:
    """Every device at most once, and not too many segments."""
    return len({n for n, _, _ in path}) == len(path) <= tables.max_segments


def improve_prices(
    tables: ChainTables,
    prices: Prices,
    *,
    incumbent: float,
    rounds: int,
    critical: tuple[int, ...] = (),
    budget: Budget | None = None,
) -> tuple[Prices, float, list[Segment] | None, float]:
    """Subgradient ascent on the prices.

    Args:
        tables: The chain problem.
        prices: Where to start.
        incumbent: Value of a known chain, or infinity; Polyak's step aims at it.
        rounds: Recursions to spend.
        critical: Devices that are kept exact; their prices should be zero.
        budget: Ends the ascent early when it is spent.

    Returns:
        Best prices, their bound, and the best proper chain that the relaxed paths happened to be,
        if any, with its cost.
    """
    best, best_bound = prices, -math.inf
    chain: list[Segment] | None = None
    step, stale = 1.0, 0
    for _ in range(rounds):
        ways = completion(tables, prices, critical)
        if not math.isfinite(ways.bound):
            return prices, ways.bound, None, math.inf
        path = relaxed_path(tables, ways)
        if is_chain(tables, path) and tables.cost_of(path) < incumbent:
            chain, incumbent = path, tables.cost_of(path)
        stale = 0 if ways.bound > best_bound + 1e-4 * abs(best_bound) else stale + 1
        if ways.bound > best_bound:
            best, best_bound = prices, ways.bound
        if best_bound >= incumbent * (1 - 1e-9) or step < 1e-3 or _spent(budget):
            break
        if stale >= 5:
            step, stale, prices = step / 2, 0, best
        prices = _polyak(tables, prices, path, step * _distance(ways.bound, incumbent))
    return best, best_bound, chain, incumbent


def _spent(budget: Budget | None) -> bool:
    return budget is not None and budget.exhausted


def _distance(bound: float, incumbent: float) -> float:
    """How far the bound may have to rise; a tenth of itself while nothing is known."""
    return max(incumbent - bound, 0.0) if math.isfinite(incumbent) else 0.1 * abs(bound) + 1e-12


def _polyak(tables: ChainTables, prices: Prices, path: list[Segment], rise: float) -> Prices:
    """One step along the violations of the relaxed path, kept non-negative."""
    overuse = np.bincount([n for n, _, _ in path], minlength=tables.devices) - 1.0
    overuse[(overuse < 0) & (prices.device <= 0)] = 0.0
    too_many = float(len(path) - tables.max_segments)
    if too_many < 0 and prices.segment <= 0:
        too_many = 0.0
    norm = float(overuse @ overuse) + too_many**2
    length = rise / norm if norm else 0.0
    return Prices(
        np.maximum(prices.device + length * overuse, 0.0),
        max(prices.segment + length * too_many, 0.0),
    )
