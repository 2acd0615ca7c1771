"""Every device takes part, in the given order; cuts are optimal for that, and so kinder than the
rule itself.

Source: prima.cpp (Li et al., arXiv 2504.08791): its layer-to-device assignment, HALDA, places
windows of layers on a ring of devices whose order is given and of which each gets at least one
layer. Theirs has a latency model of its own (disk, GPU offload); here the problem's own costs
count, so what is compared is the rule, not the model. Its removal of weak devices: who was
assigned one layer only is dropped, and the rest is solved again, until nobody is dropped (as we
understand it; the code was not compared line by line).
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.peers.tables import tables_of
from gaisnet.planner import SplitProblem
from gaisnet.planner.splitting.solution import Objective, Segment


def all_in_given_order(problem: SplitProblem, objective: Objective) -> list[Segment] | None:
    """Best cuts if every device holds at least one unit."""
    return _in_order(problem, objective, [*range(len(problem.devices))])


def without_weak(problem: SplitProblem, objective: Objective) -> list[Segment] | None:
    """The same; devices with a single unit are dropped and the rest is solved again.

    Dropping stops where the rest has no split, and the last split counts.
    """
    order = [*range(len(problem.devices))]
    found = _in_order(problem, objective, order)
    while found:
        strong = [n for n, first, last in found if last > first]
        better = _in_order(problem, objective, strong) if 0 < len(strong) < len(order) else None
        if not better:
            return found
        found, order = better, strong
    return found


def _in_order(
    problem: SplitProblem, objective: Objective, order: list[int]
) -> list[Segment] | None:
    """best[k][j]: the first k devices of ``order`` hold units 0..j. O(N L^2)."""
    tables, join = tables_of(problem, objective)
    units = len(problem.units)
    if len(order) > units:
        return None
    best = np.full((len(order), units), np.inf)
    back = np.zeros((len(order), units), dtype=int)
    best[0] = tables.segment[order[0], 0]
    for k in range(1, len(order)):
        arrive = join(best[k - 1, :-1], tables.cut[order[k - 1], order[k]])
        ways = join(arrive[:, None], tables.segment[order[k], 1:])
        back[k], best[k] = ways.argmin(axis=0), ways.min(axis=0)
    if math.isinf(best[-1, -1]):
        return None
    segments, j = [], units - 1
    for k in range(len(order) - 1, 0, -1):
        segments.append((order[k], int(back[k, j]) + 1, j))
        j = int(back[k, j])
    return [*segments, (order[0], 0, j)][::-1]
