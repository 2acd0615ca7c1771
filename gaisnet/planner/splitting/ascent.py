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
    best_prices, best_ways = prices, completion(tables, prices, near)
    ways, chain, stale = best_ways, None, 0
    direction: FloatArray = np.zeros(tables.devices + 1)
    for _ in range(rounds):
        if not math.isfinite(best_ways.bound):
            break
        path = relaxed_path(tables, ways)
        if returns is not None:
            returns.count(path)
        if is_chain(tables, path) and tables.cost_of(path) < incumbent:
            chain, incumbent = path, tables.cost_of(path)
        over = _overuse(tables, path, twins, prices)
        spent = budget is not None and budget.exhausted
        if best_ways.bound >= incumbent * (1 - RELATIVE_TOLERANCE) or spent:
            break
        if step < _SMALLEST_STEP or not over.any():
            break
        if stale >= patience:
            step, stale, prices = step * _SHRINK, 0, best_prices
        direction = _MEMORY * direction + (1 - _MEMORY) * over
        prices = _moved(prices, direction, over, step * _distance(ways.bound, incumbent))
        ways = completion(tables, prices, near)
        if budget is not None:
            budget.nodes += recursion_nodes(tables, near)
        progress = ways.bound > best_ways.bound + _PROGRESS * abs(best_ways.bound)
        stale = 0 if progress else stale + 1
        if ways.bound > best_ways.bound:
            best_prices, best_ways = prices, ways
    return Ascent(best_prices, best_ways, chain, incumbent)


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
