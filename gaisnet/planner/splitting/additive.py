"""Exact search for latency or energy on one chain problem: prices, beam, A*."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gaisnet.planner.splitting.astar import AStar
from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.critical import LEVELS, grow
from gaisnet.planner.splitting.lagrangian import (
    Prices,
    completion,
    improve_prices,
    spare,
)
from gaisnet.planner.splitting.period import PeriodSearch
from gaisnet.planner.splitting.probe import Probe
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["Memory", "search_additive", "search_period"]

_BEAM = 30
_PRICE_ROUNDS = 80
_WIDE_BEAM = 100
_WARM_ROUNDS = 5
_WARM_LEVEL = 2
_PROBE_NODES = 20_000


@dataclass
class Memory:
    """What a search leaves to the next one on a similar problem; changes its speed only."""

    prices: Prices
    critical: tuple[int, ...] = ()
    level: int = 0


def search_additive(
    tables: ChainTables,
    twins: Twins,
    budget: Budget,
    memory: Memory,
    *,
    cutoff: float = math.inf,
    gap: float = 0.0,
) -> Found:
    """Cheapest chain below ``cutoff``.

    Attempts with more and more critical devices, until one of them closes the gap.
    """
    found = Found(None, cutoff, 0.0)
    if memory.level == 0:
        found = _first_chain(tables, twins, budget, cutoff, memory.prices)
    prices, critical = memory.prices, memory.critical
    for number in range(memory.level, len(LEVELS)):
        level = LEVELS[number]
        critical = grow(tables, prices, critical, level.critical)
        prices, bound, path, value = improve_prices(
            tables,
            spare(prices, critical),
            incumbent=found.value,
            rounds=_WARM_ROUNDS if number == memory.level > 0 else level.rounds,
            critical=critical,
            budget=budget,
        )
        found = _merge(found, Found(path, value, bound))
        if _closed(found, gap) or budget.exhausted:
            break
        ways = completion(tables, prices, critical)
        if number:
            beam = AStar(tables, prices, ways, twins, found.value).beam(_WIDE_BEAM, budget)
            found = _merge(found, beam)
        search = AStar(tables, prices, ways, twins, found.value)
        found = _merge(found, search.run(budget, gap=gap, node_limit=level.nodes))
        if _closed(found, gap):
            memory.prices, memory.critical = prices, critical
            memory.level = min(number, _WARM_LEVEL)
            break
    return found


def _first_chain(
    tables: ChainTables, twins: Twins, budget: Budget, cutoff: float, prices: Prices
) -> Found:
    """Prices, then a beam, then a probe: something to prune with, or a proof that nothing is."""
    prices, bound, path, value = improve_prices(
        tables, prices, incumbent=cutoff, rounds=_PRICE_ROUNDS, budget=budget
    )
    found = Found(path, value, min(bound, value))
    if _closed(found, 0.0):
        return found
    beam = AStar(tables, prices, completion(tables, prices), twins, value)
    found = _merge(found, beam.beam(_BEAM, budget))
    if math.isfinite(found.value):
        return found
    verdict = Probe(tables, twins, math.inf).run(budget, _PROBE_NODES)
    if verdict.path is not None:
        return Found(verdict.path, tables.cost_of(verdict.path), found.bound)
    return Found(None, math.inf, math.inf) if verdict.proven else found


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
