"""Prices that prove that no chain exists: the Lagrangian bound of a problem without costs.

With all costs zero the bound L(pi) is positively homogeneous, so it is either never above zero
or proves that nothing is feasible. Prices therefore live on a simplex, and the ascent aims at
making L positive. Prices that come close still rule out many partial chains.
"""

from __future__ import annotations

import numpy as np

from gaisnet.planner.splitting.budget import Budget
from gaisnet.planner.splitting.instance import FloatArray
from gaisnet.planner.splitting.lagrangian import (
    Completion,
    Prices,
    completion,
    recursion_nodes,
    relaxed_path,
)
from gaisnet.planner.splitting.neighbours import Neighbourhoods, Returns
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["PROOF", "contend", "equal_prices"]

PROOF = 1e-9
"""A bound above this, relative to prices that sum to one, proves infeasibility."""

_PATIENCE = 5
_PROGRESS = 1e-3
_SHRINK = 0.6


def equal_prices(tables: ChainTables) -> Prices:
    """Every device as scarce as the others."""
    return Prices(np.full(tables.devices, 1.0 / tables.devices))


def contend(
    costless: ChainTables,
    start: Prices,
    near: Neighbourhoods,
    rounds: int,
    budget: Budget,
    returns: Returns | None = None,
) -> tuple[Prices, Completion]:
    """Ascend from ``start`` until infeasibility is proven or ``rounds`` are spent.

    Args:
        costless: Tables whose costs are 0 or infinity.
        start: Prices to begin with.
        near: Neighbourhoods of the relaxation.
        rounds: Recursions to spend.
        budget: Ends the ascent early when it is spent.
        returns: Told of every relaxed path.

    Returns:
        The best prices and their completion; a bound above ``PROOF`` is a proof.
    """
    prices = _normalised(start, costless)
    best, best_ways = prices, completion(costless, prices, near)
    ways, step, stale = best_ways, 1.0, 0
    for _ in range(rounds):
        if best_ways.bound > PROOF or budget.exhausted:
            break
        path = relaxed_path(costless, ways)
        if returns is not None:
            returns.count(path)
        overuse = _overuse(costless, path, prices)
        if not overuse.any():
            break
        rise = step * (0.2 / costless.devices - ways.bound) / float(overuse @ overuse)
        moved = np.maximum(np.append(prices.device, prices.segment) + rise * overuse, 0.0)
        prices = _normalised(Prices(moved[:-1], float(moved[-1])), costless)
        ways = completion(costless, prices, near)
        budget.nodes += recursion_nodes(costless, near)
        stale += 1
        if ways.bound > best_ways.bound:
            stale = 0 if ways.bound > best_ways.bound + _PROGRESS * abs(best_ways.bound) else stale
            best, best_ways = prices, ways
        if stale >= _PATIENCE:
            prices, ways, step, stale = best, best_ways, step * _SHRINK, 0
    return best, best_ways


def _overuse(costless: ChainTables, path: list[Segment], prices: Prices) -> FloatArray:
    """``[N+1]`` visits beyond the one allowed, and segments beyond those allowed; 0 where less
    would have to pull a price below zero."""
    visits = np.bincount([n for n, _, _ in path], minlength=costless.devices) - 1.0
    over = np.append(visits, float(len(path) - costless.max_segments))
    return np.where((over < 0) & (np.append(prices.device, prices.segment) <= 0), 0.0, over)


def _normalised(prices: Prices, tables: ChainTables) -> Prices:
    total = float(prices.device.sum()) + prices.segment
    if total > 0:
        return Prices(prices.device / total, prices.segment / total)
    return equal_prices(tables)
