"""Chains to start a re-plan from: the old one with the gap filled as simply as it can be."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from itertools import islice

from gaisnet.planner.chains.depths import depths
from gaisnet.planner.chains.step import Chain, step_figures
from gaisnet.planner.chains.task import SplitTask, overflow
from gaisnet.planner.cost import CostModel

__all__ = ["repaired"]

Body = tuple[tuple[str, int, int], ...]

MOST_TRIED = 1000
"""Repairs that are looked at: more than there are for two lost runs of stages."""


def repaired(cost: CostModel, task: SplitTask, old: Chain, lost: Collection[str]) -> list[Chain]:
    """Chains that differ from ``old`` only around what is lost, as far as they are allowed.

    A lost run of units goes to one spare holder, or its neighbours (head and tail are
    neighbours too) share it at any cut.
    """
    allowed = set(depths(cost.n_units, task))
    found = []
    for head, tail, body in islice(_filled(task, old, lost), MOST_TRIED):
        ends = (cost.n_units, cost.n_units) if not body and head >= tail else (head, tail)
        chain = task.chain(*ends, body)
        if ends in allowed and _runs(cost, task, chain):
            found.append(chain)
    return found


def _filled(task: SplitTask, old: Chain, lost: Collection[str]) -> Iterator[tuple[int, int, Body]]:
    """Head, tail and body with every run of lost stages given away in one of the ways."""
    whole = old.head_units, old.tail_first_unit, old.body
    states = [whole]
    while states:
        head, tail, body = states.pop()
        gone = [k for k, (device, _, _) in enumerate(body) if device in lost]
        if not gone:
            yield head, tail, body
            continue
        first = gone[0]
        last = first
        while last + 1 in gone:
            last += 1
        states += _ways(task, (head, tail, body), first, last)


def _ways(
    task: SplitTask, chain: tuple[int, int, Body], first: int, last: int
) -> Iterator[tuple[int, int, Body]]:
    """The stages ``first .. last`` of the body given to a spare holder or to neighbours."""
    head, tail, body = chain
    start, end = body[first][1], body[last][2]
    before, after = body[:first], body[last + 1 :]
    used = {device for device, _, _ in body}
    for holder in task.holders:
        if holder not in used:
            yield head, tail, (*before, (holder, start, end), *after)
    for cut in range(start, end + 2):
        left, right = _grown(before, head, cut), _shrunk(after, tail, cut)
        if left is not None and right is not None:
            yield left[1], right[1], (*left[0], *right[0])


def _grown(before: Body, head: int, cut: int) -> tuple[Body, int] | None:
    """What stands before the gap, grown up to ``cut``."""
    if not before:
        return before, cut
    device, first, _ = before[-1]
    return (*before[:-1], (device, first, cut - 1)), head


def _shrunk(after: Body, tail: int, cut: int) -> tuple[Body, int] | None:
    """What stands behind the gap, begun at ``cut``."""
    if not after:
        return after, cut
    device, _, last = after[0]
    return ((device, cut, last), *after[1:]), tail


def _runs(cost: CostModel, task: SplitTask, chain: Chain) -> bool:
    stages = len(chain.body) <= (task.max_stages or len(chain.body))
    holders = {device for device, _, _ in chain.body} <= set(task.holders)
    if not stages or not holders or overflow(cost, task, chain):
        return False
    return math.isfinite(step_figures(cost, chain, task.speed).latency_s)
