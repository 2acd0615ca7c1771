"""Which devices to keep exact in the bound, and how much to spend on each attempt."""

from __future__ import annotations

from dataclasses import dataclass

from gaisnet.planner.splitting.lagrangian import Prices
from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["LEVELS", "Level", "grow"]

_MOST_STATES = 2_500_000


@dataclass(frozen=True)
class Level:
    """One attempt at closing the gap; each is given up for the next when its nodes are spent."""

    critical: int
    """Devices kept exact."""
    rounds: int
    """Rounds of price improvement; they cost 2^critical."""
    nodes: int | None
    """Search labels; None: all that the budget has left."""


LEVELS = (
    Level(0, 60, 2_000),
    Level(6, 30, 10_000),
    Level(9, 15, 40_000),
    Level(12, 8, None),
)


def grow(
    tables: ChainTables, prices: Prices, critical: tuple[int, ...], count: int
) -> tuple[int, ...]:
    """``critical`` and the dearest other devices, up to ``count`` or what memory allows."""
    states = max(_MOST_STATES // (tables.devices * tables.units), 1)
    count = min(count, tables.devices, states.bit_length() - 1)
    order = sorted(range(tables.devices), key=lambda n: (-prices.device[n], n))
    new = [n for n in order if n not in critical and prices.device[n] > 0]
    return (*critical, *new[: max(count - len(critical), 0)])
