"""Large neighbourhoods: a stretch of a chain is solved again, with the devices left unused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gaisnet.planner.splitting.arrays import BoolArray
from gaisnet.planner.splitting.ascent import improve_prices
from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget
from gaisnet.planner.splitting.lagrangian import no_prices
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.sweep import Sweep
from gaisnet.planner.splitting.symmetry import Twins
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["polish"]

_ROUNDS = 30
_WIDTH = 100
_LENGTHS = (8, 14)


def polish(tables: ChainTables, path: list[Segment], budget: Budget) -> list[Segment]:
    """``path`` or a cheaper chain, no window of which its sweep could improve."""
    for length in _LENGTHS:
        start = 0
        while start < len(path) and not budget.exhausted:
            better = _again(tables, path, start, start + length, budget)
            if better is not None:
                path, start = better, max(start - length, 0)
            elif start + length >= len(path):
                break
            else:
                start += length // 2
    return path


def _again(
    tables: ChainTables, path: list[Segment], start: int, stop: int, budget: Budget
) -> list[Segment] | None:
    """A better chain that differs in segments ``start..stop-1`` only."""
    before, inside, behind = path[:start], path[start:stop], path[stop:]
    kept = {n for n, _, _ in (*before, *behind)}
    rows = [n for n in range(tables.devices) if n not in kept]
    first = inside[0][1]
    part = _stretch(tables, rows, before, behind, first, inside[-1][2])
    value = part.cost_of([(rows.index(n), i - first, j - first) for n, i, j in inside])
    ascent = improve_prices(part, no_prices(part), incumbent=value, rounds=_ROUNDS, budget=budget)
    found, best = ascent.path, ascent.value
    alone = Twins(tuple(range(len(rows))), (0,) * len(rows))
    swept = Sweep(part, ascent.prices, ascent.ways, alone, best).run(_WIDTH, budget)
    if swept.path is not None:
        found, best = swept.path, swept.value
    if found is None or best >= value * (1 - RELATIVE_TOLERANCE):
        return None
    return [*before, *((rows[n], i + first, j + first) for n, i, j in found), *behind]


def _stretch(
    tables: ChainTables,
    rows: list[int],
    before: list[Segment],
    behind: list[Segment],
    first: int,
    last: int,
) -> ChainTables:
    """Units ``first..last`` on devices ``rows``, between the fixed segments on both sides."""
    span = slice(first, last + 1)
    cost = tables.segment_cost[rows, span, span].copy()
    if before:
        cost[:, 0, :] += tables.cut_cost[before[-1][0], rows, first - 1][:, None]
    if behind:
        cost[:, :, -1] += tables.cut_cost[rows, behind[0][0], last][:, None]
    pairs = np.ix_(rows, rows, range(first, last))
    possible: BoolArray = np.isfinite(cost)
    return replace(
        tables,
        segment_cost=cost,
        segment_stage=np.where(possible, tables.segment_stage[rows, span, span], math.inf),
        cut_cost=tables.cut_cost[pairs],
        cut_stage=tables.cut_stage[pairs],
        max_segments=min(tables.max_segments - len(before) - len(behind), len(rows)),
    )
