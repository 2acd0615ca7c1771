"""Exact search for latency or energy on one chain problem: prices, A*, sweeps.

Small problems close with plain prices and a short A*. What is left then goes through rounds of
price improvement over larger and larger neighbourhoods, each followed by a wider sweep, which
finds better chains, and closes the gap once it drops no label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gaisnet.planner.splitting.ascent import improve_prices
from gaisnet.planner.splitting.astar import AStar
from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.effort import EFFORTS, affordable
from gaisnet.planner.splitting.lagrangian import Prices, completion
from gaisnet.planner.splitting.neighbours import Returns
from gaisnet.planner.splitting.period import PeriodSearch
from gaisnet.planner.splitting.probe import Probe
from gaisnet.planner.splitting.sweep import Sweep
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables
from gaisnet.planner.splitting.windows import polish

__all__ = ["Memory", "search_additive", "search_period"]

_FIRST_WIDTH = 30
_FIRST_ROUNDS = 80
_FIRST_NODES = 1_000
_LATER_STEP = 0.4
_PROBE_NODES = 20_000


@dataclass
class Memory:
    """What a search leaves to the next one on a similar problem; changes its speed only."""

    prices: Prices


def search_additive(
    tables: ChainTables,
    twins: Twins,
    budget: Budget,
    memory: Memory,
    *,
    cutoff: float = math.inf,
    gap: float = 0.0,
) -> Found:
    """Cheapest chain below ``cutoff``."""
    found, prices = _first(tables, twins, budget, cutoff, memory.prices)
    if _closed(found, gap) or budget.exhausted:
        return found
    search = AStar(tables, prices, completion(tables, prices), twins, found.value)
    found = _merge(found, search.run(budget, gap=gap, node_limit=_FIRST_NODES))
    returns = Returns(tables.devices)
    for effort in EFFORTS:
        if _closed(found, gap) or budget.exhausted:
            break
        ascent = improve_prices(
            tables,
            prices,
            incumbent=found.value,
            rounds=effort.rounds,
            near=returns.forbid(affordable(tables, effort.near)),
            twins=twins,
            returns=returns,
            step=_LATER_STEP if effort.near else 1.0,
            patience=effort.patience,
            budget=budget,
        )
        prices = ascent.prices
        found = _merge(found, Found(ascent.path, ascent.value, ascent.bound))
        if _closed(found, gap):
            break
        sweep = Sweep(tables, prices, ascent.ways, twins, found.value)
        swept = sweep.run(effort.width, budget)
        if swept.path is not None and swept.bound < swept.value:
            path = polish(tables, swept.path, budget)
            swept = Found(path, tables.cost_of(path), swept.bound)
        found = _merge(found, swept)
    memory.prices = prices
    return found


def _first(
    tables: ChainTables, twins: Twins, budget: Budget, cutoff: float, prices: Prices
) -> tuple[Found, Prices]:
    """Prices, then a beam, then a probe: something to prune with, or a proof that nothing is."""
    ascent = improve_prices(
        tables, prices, incumbent=cutoff, rounds=_FIRST_ROUNDS, twins=twins, budget=budget
    )
    found = Found(ascent.path, ascent.value, min(ascent.bound, ascent.value))
    if _closed(found, 0.0):
        return found, ascent.prices
    sweep = Sweep(tables, ascent.prices, ascent.ways, twins, found.value)
    found = _merge(found, sweep.run(_FIRST_WIDTH, budget))
    if math.isfinite(found.value):
        return found, ascent.prices
    verdict = Probe(tables, twins, math.inf).run(budget, _PROBE_NODES)
    if verdict.path is not None:
        found = Found(verdict.path, tables.cost_of(verdict.path), found.bound)
    elif verdict.proven:
        found = Found(None, math.inf, math.inf)
    return found, ascent.prices


def _merge(known: Found, new: Found) -> Found:
    """The better chain and the better bound."""
    path, value = (new.path, new.value) if new.value < known.value else (known.path, known.value)
    return Found(path, value, min(max(known.bound, new.bound), value))


def _closed(found: Found, gap: float) -> bool:
    if math.isinf(found.value):
        return found.bound == math.inf
    return found.bound >= found.value * (1 - max(gap, RELATIVE_TOLERANCE))


def search_period(
    tables: ChainTables,
    twins: Twins,
    budget: Budget,
    *,
    cutoff: float = math.inf,
    gap: float = 0.0,
) -> Found:
    """Shortest period below ``cutoff``."""
    return PeriodSearch(tables, twins, cutoff).run(budget, gap)
