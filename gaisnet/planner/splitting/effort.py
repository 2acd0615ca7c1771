"""How much is spent on each attempt at closing the gap, and how large neighbourhoods may grow."""

from __future__ import annotations

from dataclasses import dataclass

from gaisnet.planner.splitting.tables import ChainTables

__all__ = ["EFFORTS", "PROBE_EFFORTS", "Effort", "affordable"]

_MOST_STEPS = 40_000_000


@dataclass(frozen=True)
class Effort:
    """One attempt; it is given up for the next when it is spent."""

    near: int
    """Devices in each neighbourhood."""
    rounds: int
    """Rounds of price improvement; they cost 2^near."""
    width: int
    """Labels per unit in the sweep after it."""
    patience: int = 7
    """Rounds without progress after which the ascent's step shrinks."""


EFFORTS = (
    Effort(0, 500, 100, patience=15),
    Effort(2, 80, 300, patience=10),
    Effort(4, 50, 300),
    Effort(6, 40, 1_000),
    Effort(6, 20, 4_000),
    Effort(8, 20, 20_000),
)

PROBE_EFFORTS = (
    Effort(0, 80, 100),
    Effort(2, 60, 500),
    Effort(4, 50, 2_000),
    Effort(6, 40, 8_000),
    Effort(6, 40, 40_000),
)
"""For one of many feasibility questions."""


def affordable(tables: ChainTables, near: int) -> int:
    """``near`` devices, or as many as keep one recursion to a fraction of a second."""
    steps = max(_MOST_STEPS // (tables.devices**2 * tables.units), 1)
    return max(min(near, steps.bit_length() - 1, tables.devices - 1), 0)
