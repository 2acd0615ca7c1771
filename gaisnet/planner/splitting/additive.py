"""Exact search for latency or energy on one chain problem: prices, beam, A*."""

from __future__ import annotations

import math

from gaisnet.planner.splitting.astar import AStar
from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.lagrangian import Prices, completion, improve_prices, no_prices
from gaisnet.planner.splitting.period import PeriodSearch
from gaisnet.planner.splitting.probe import Probe
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["search_additive", "search_period"]

_BEAM = 30
_PRICE_ROUNDS = 80
_PROBE_NODES = 20_000


def search_additive(
    tables: ChainTables,
    twins: Twins,
    budget: Budget,
    *,
    cutoff: float = math.inf,
    gap: float = 0.0,
    prices: Prices | None = None,
) -> Found:
    """Cheapest chain below ``cutoff``, started from ``prices`` if some are known."""
    prices = prices or no_prices(tables)
    prices, bound, path, value = improve_prices(
        tables, prices, incumbent=cutoff, rounds=_PRICE_ROUNDS
    )
    if _closed(bound, value):
        return Found(path, value, min(bound, value))
    first = AStar(tables, prices, completion(tables, prices), twins, value).beam(_BEAM, budget)
    path, value = first.path or path, first.value
    if not math.isfinite(value):
        probe = Probe(tables, twins, math.inf)
        verdict = probe.run(budget, _PROBE_NODES)
        if verdict.path is not None:
            path, value = verdict.path, tables.cost_of(verdict.path)
        elif verdict.proven:
            return Found(None, math.inf, math.inf)
    prices, bound, lucky, value = improve_prices(
        tables, prices, incumbent=value, rounds=_PRICE_ROUNDS
    )
    path = lucky or path
    found = AStar(tables, prices, completion(tables, prices), twins, value).run(budget, gap=gap)
    return Found(found.path or path, found.value, found.bound)


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


def _closed(bound: float, value: float) -> bool:
    return bound >= value * (1 - RELATIVE_TOLERANCE) if math.isfinite(value) else bound == math.inf
