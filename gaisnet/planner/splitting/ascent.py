"""Better prices for the Lagrangian bound: deflected subgradients with Polyak's step.

The direction is a running mean of the relaxed paths' violations (Camerini, Fratta and Maffioli
1975; the volume algorithm of Barahona and Anbil 2000 has the same memory), which damps the zigzag
of the plain method. Interchangeable devices keep equal prices: the bound is concave and symmetric
in them, so averaging never lowers it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget
from gaisnet.planner.splitting.instance import FloatArray
from gaisnet.planner.splitting.lagrangian import (
    Completion,
    Prices,
    completion,
    is_chain,
    recursion_nodes,
    relaxed_path,
)
from gaisnet.planner.splitting.neighbours import Neighbourhoods, Returns
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["Ascent", "improve_prices"]

_MEMORY = 0.5
_SHRINK = 0.6
_SMALLEST_STEP = 1e-3
_PROGRESS = 1e-5
_UNKNOWN_RISE = 0.3


@dataclass(frozen=True)
class Ascent:
    """What an ascent came to."""

    prices: Prices
    ways: Completion
    """Completion under ``prices``."""
    path: list[Segment] | None
    """Best proper chain below the incumbent that a relaxed path happened to be."""
    value: float
    """Its cost; the incumbent where there is none."""

    @property
    def bound(self) -> float:
        """Best bound."""
        return self.ways.bound


def improve_prices(
    tables: ChainTables,
    prices: Prices,
    *,
    incumbent: float,
    rounds: int,
    near: Neighbourhoods | None = None,
    twins: Twins | None = None,
    returns: Returns | None = None,
    step: float = 1.0,
    patience: int = 5,
    budget: Budget | None = None,
) -> Ascent:
    """Ascend on the prices.

    Args:
        tables: The chain problem.
        prices: Where to start.
        incumbent: Value of a known chain, or infinity; Polyak's step aims at it.
        rounds: Recursions to spend.
        near: Neighbourhoods of the relaxation.
        twins: Interchangeable devices.
        returns: Told of every relaxed path.
        step: First step, relative to Polyak's.
        patience: Rounds without progress after which the step shrinks.
        budget: Ends the ascent early when it is spent.
    """
    climb = _Climb(tables, prices, completion(tables, prices, near), incumbent, near, step)
    for _ in range(rounds):
        if not math.isfinite(climb.best_ways.bound):
            break
        over = climb.violations(twins, returns)
        if climb.arrived(over) or (budget is not None and budget.exhausted):
            break
        climb.move(over, patience)
        if budget is not None:
            budget.nodes += recursion_nodes(tables, near)
    return Ascent(climb.best_prices, climb.best_ways, climb.chain, climb.incumbent)


class _Climb:
    """Where an ascent stands, and the best that it has passed."""

    def __init__(
        self,
        tables: ChainTables,
        prices: Prices,
        ways: Completion,
        incumbent: float,
        near: Neighbourhoods | None,
        step: float,
    ) -> None:
        self._tables = tables
        self._near = near
        self._step = step
        self._prices = self.best_prices = prices
        self._ways = self.best_ways = ways
        self._stale = 0
        self._direction: FloatArray = np.zeros(tables.devices + 1)
        self.incumbent = incumbent
        self.chain: list[Segment] | None = None

    def violations(self, twins: Twins | None, returns: Returns | None) -> FloatArray:
        """``[N+1]`` what the relaxed path violates; kept if it is a better chain."""
        path = relaxed_path(self._tables, self._ways)
        if returns is not None:
            returns.count(path)
        if is_chain(self._tables, path) and self._tables.cost_of(path) < self.incumbent:
            self.chain, self.incumbent = path, self._tables.cost_of(path)
        return _overuse(self._tables, path, twins, self._prices)

    def arrived(self, over: FloatArray) -> bool:
        """Whether the bound meets the incumbent, or nothing pulls at the prices any more."""
        met = self.best_ways.bound >= self.incumbent * (1 - RELATIVE_TOLERANCE)
        return met or self._step < _SMALLEST_STEP or not over.any()

    def move(self, over: FloatArray, patience: int) -> None:
        """One step; a shorter one from the best prices after ``patience`` without progress."""
        if self._stale >= patience:
            self._step, self._stale, self._prices = self._step * _SHRINK, 0, self.best_prices
        self._direction = _MEMORY * self._direction + (1 - _MEMORY) * over
        rise = self._step * _distance(self._ways.bound, self.incumbent)
        self._prices = _moved(self._prices, self._direction, over, rise)
        self._ways = completion(self._tables, self._prices, self._near)
        best = self.best_ways.bound
        progress = self._ways.bound > best + _PROGRESS * abs(best)
        self._stale = 0 if progress else self._stale + 1
        if self._ways.bound > best:
            self.best_prices, self.best_ways = self._prices, self._ways


def _distance(bound: float, incumbent: float) -> float:
    """How far the bound may have to rise; a share of itself while nothing is known."""
    if math.isfinite(incumbent):
        return max(incumbent - bound, 0.0)
    return _UNKNOWN_RISE * abs(bound) + 1e-12


def _overuse(
    tables: ChainTables, path: list[Segment], twins: Twins | None, prices: Prices
) -> FloatArray:
    """``[N+1]`` visits beyond the one allowed, and segments beyond those allowed; 0 where less
    would have to pull a price below zero."""
    visits = np.bincount([n for n, _, _ in path], minlength=tables.devices) - 1.0
    if twins is not None:
        kinds = np.array(twins.representative)
        sums = np.bincount(kinds, weights=visits, minlength=len(kinds))
        visits = sums[kinds] / np.bincount(kinds, minlength=len(kinds))[kinds]
    over = np.append(visits, float(len(path) - tables.max_segments))
    return np.where((over < 0) & (np.append(prices.device, prices.segment) <= 0), 0.0, over)


def _moved(prices: Prices, direction: FloatArray, over: FloatArray, rise: float) -> Prices:
    """One step along ``direction``, kept non-negative."""
    old = np.append(prices.device, prices.segment)
    way = np.where((direction < 0) & (old <= 0), 0.0, direction)
    norm = max(float(way @ way), 0.15 * float(over @ over))
    new = np.maximum(old + (rise / norm if norm else 0.0) * way, 0.0)
    return Prices(new[:-1], float(new[-1]))
