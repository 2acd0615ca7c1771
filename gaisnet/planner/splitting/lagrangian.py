"""Lagrangian bound of the additive objectives: the price of using a device more than once.

The rows "each device at most one segment" and "at most S segments" are priced (pi_n, sigma >= 0);
what is left is a shortest path in a layered graph. With C[n,i,j] the cost of a segment and
t[n,m,j] that of a cut, the costs to completion are

    E[n,j] = min_m { t[n,m,j] + H[m,j+1] },   E[n,L-1] = 0
    H[n,i] = pi_n + sigma + min_j { C[n,i,j] + E[n,j] }

and L(pi, sigma) = min_n H[n,0] - sum(pi) - S sigma is a lower bound, at its best the bound of the
linear relaxation of the segment-flow formulation (Geoffrion 1974: integrality property).

With neighbourhoods (see ``neighbours``) E and H also depend on the memory s of the path, and m is
no choice if s holds it: the ng-route relaxation, whose best bound is higher.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaisnet.planner.splitting.instance import FloatArray
from gaisnet.planner.splitting.neighbours import Neighbourhoods, nobody
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.tables import ChainTables

__all__ = [
    "Completion",
    "Prices",
    "completion",
    "is_chain",
    "no_prices",
    "recursion_nodes",
    "relaxed_path",
]

_STEPS_PER_NODE = 100_000


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


@dataclass(frozen=True)
class Completion:
    """Cheapest priced ways to the end that enter no remembered device."""

    after: FloatArray
    """``[L, N, M]`` E: unit j is the last on device n, whose memory is s."""
    enter: FloatArray
    """``[L, N * M + 1]`` H: device n is next, with memory s, and starts with unit i; the last
    state is the forbidden one."""
    near: Neighbourhoods
    bound: float
    """L(pi, sigma); infinite proves that there is no chain at all."""


def recursion_nodes(tables: ChainTables, near: Neighbourhoods | None) -> int:
    """What one recursion counts as: a search label for every hundred thousand steps."""
    memories = near.memories if near else 1
    return tables.devices**2 * tables.units * memories // _STEPS_PER_NODE


def no_prices(tables: ChainTables) -> Prices:
    """Everything free: completion is then the plain shortest path."""
    return Prices(np.zeros(tables.devices))


def completion(
    tables: ChainTables, prices: Prices, near: Neighbourhoods | None = None
) -> Completion:
    """Backward recursion over the layered graph, O(M L (N^2 + N K)), K the longest segment."""
    near = near or nobody(tables.devices)
    count, units, memories = tables.devices, tables.units, near.memories
    after = np.full((units, count, memories), np.inf)
    enter = np.full((units, count * memories + 1), np.inf)
    after[-1] = 0.0
    fee = (prices.device + prices.segment)[:, None]
    for i in range(units - 1, -1, -1):
        span = tables.from_unit[i, : units - i, :, None]
        start = fee + (span + after[i : i + len(span)]).min(axis=0)
        enter[i, :-1] = start.ravel()
        if i:
            ways = _ways_on(near, enter[i], start)
            ways += tables.cut_after[i - 1][:, :, None]
            after[i - 1] = ways.min(axis=1)
    bound = float(enter[0, :-1].reshape(count, memories)[:, 0].min())
    return Completion(after, enter, near, bound - prices.refund(tables.max_segments))


def _ways_on(near: Neighbourhoods, enter: FloatArray, start: FloatArray) -> FloatArray:
    """``[N, N, M]`` what follows a hop from n with memory s to m."""
    if near.width:
        return np.take(enter, near.states, mode="clip")
    return np.repeat(start[None], near.devices, axis=0)


def relaxed_path(tables: ChainTables, ways: Completion) -> list[Segment]:
    """The path that attains the bound; it may return to devices that it has forgotten."""
    path: list[Segment] = []
    near, memories = ways.near, ways.near.memories
    state = int(ways.enter[0, :-1].reshape(-1, memories)[:, 0].argmin()) * memories
    i = 0
    while True:
        n, memory = divmod(state, memories)
        span = tables.from_unit[i, : tables.units - i, n]
        j = i + int((span + ways.after[i : i + len(span), n, memory]).argmin())
        path.append((n, i, j))
        if j == tables.units - 1:
            return path
        states = near.states[n, :, memory]
        onward = tables.cut_after[j, n] + ways.enter[j + 1, states]
        state, i = int(states[int(onward.argmin())]), j + 1


def is_chain(tables: ChainTables, path: list[Segment]) -> bool:
    """Every device at most once, and not too many segments."""
    return len({n for n, _, _ in path}) == len(path) <= tables.max_segments
