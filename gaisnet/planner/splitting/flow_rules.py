"""Rows of the segment-flow programme for side constraints, the U-shape, and identical devices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import pulp

from gaisnet.planner.splitting.evaluate import MEMORY_TOLERANCE
from gaisnet.planner.splitting.instance import FloatArray, SplitInstance
from gaisnet.planner.splitting.rules import Allowance
from gaisnet.planner.splitting.solution import Segment
from gaisnet.planner.splitting.symmetry import Twins

__all__ = ["Terms", "expression", "no_good", "rule_rows", "shared_end_rows", "twin_rows"]

_ALLOWANCE_SCALE = 1e3
"""Limits are scaled to this: the solver's feasibility tolerance is 1e-6, ours a relative 1e-9."""

Terms = list[tuple[pulp.LpVariable, float]]
Segments = Mapping[Segment, pulp.LpVariable]
Cuts = Mapping[tuple[int, int, int], pulp.LpVariable]


def expression(terms: Terms) -> pulp.LpAffineExpression:
    """A sum of variables times coefficients."""
    return pulp.LpAffineExpression(terms)


def rule_rows(
    instance: SplitInstance, segments: Segments, cuts: Cuts
) -> Iterator[pulp.LpConstraint]:
    """``instance.rules``: devices that must work, together or not, and limited sums."""
    uses: dict[int, Terms] = defaultdict(list)
    for (n, _, _), y in segments.items():
        uses[n].append((y, 1.0))
    rules = instance.rules
    for row in sorted(set(rules.forced)):
        yield expression(uses[row]) >= 1
    for rows in rules.together:
        for row in rows[1:]:
            yield expression(uses[rows[0]]) - expression(uses[row]) == 0
    for rows in rules.apart:
        yield expression([term for row in rows for term in uses[row]]) <= 1
    for allowance in rules.allowances:
        yield _limited(allowance, segments, cuts)


def _limited(allowance: Allowance, segments: Segments, cuts: Cuts) -> pulp.LpConstraint:
    terms = [(y, float(allowance.segment[s])) for s, y in segments.items()]
    terms += [(z, float(allowance.cut[c])) for c, z in cuts.items()]
    terms = [(variable, weight) for variable, weight in terms if weight > 0.0]
    scale = _ALLOWANCE_SCALE / allowance.most if allowance.most > 0.0 else _own_scale(terms)
    return expression([(v, w * scale) for v, w in terms]) <= allowance.most * scale


def _own_scale(terms: Terms) -> float:
    """Nothing may be spent: the least that could be is to be well above the tolerance."""
    return _ALLOWANCE_SCALE / min((weight for _, weight in terms), default=1.0)


def twin_rows(twins: Twins, segments: Segments, units: int) -> Iterator[pulp.LpConstraint]:
    """Of two identical devices the second begins after the first: for every unit i, what it
    begins at up to i needs a beginning of the first before i. Any order of identical devices
    costs the same, so the optimum stays."""
    begins: dict[tuple[int, int], Terms] = defaultdict(list)
    for (n, i, _), y in segments.items():
        begins[n, i].append((y, 1.0))
    for n, before in enumerate(twins.previous):
        if not before:
            continue
        first = before.bit_length() - 1
        for i in range(units):
            late = [term for k in range(i + 1) for term in begins[n, k]]
            early = [(y, -1.0) for k in range(i) for y, _ in begins[first, k]]
            if begins[n, i]:
                yield expression(late + early) <= 0


def shared_end_rows(
    instance: SplitInstance, segments: Segments, head: int, tail: int
) -> Iterator[pulp.LpConstraint]:
    """The two ends of a U-shape are one device: its memory, and units that stay together."""
    yield from _shared_memory(instance, segments, head, tail)
    ends = {s: y for s, y in segments.items() if s[0] in (head, tail)}
    for units in instance.colocated_units:
        for a, b in pairwise(units):
            yield expression(_holding(ends, a)) - expression(_holding(ends, b)) == 0


def _holding(segments: Segments, unit: int) -> Terms:
    return [(y, 1.0) for (_, i, j), y in segments.items() if i <= unit <= j]


def _shared_memory(
    instance: SplitInstance, segments: Segments, head: int, tail: int
) -> Iterator[pulp.LpConstraint]:
    """For each head length: it and longer ones exclude the tails that do not fit beside it."""
    head_bytes = instance.memory_bytes[head].cumsum()
    tail_bytes: FloatArray = instance.memory_bytes[tail, ::-1].cumsum()[::-1]
    room = instance.capacity_bytes[head] * (1 + MEMORY_TOLERANCE)
    for length in range(instance.units - 1):
        heads = [(y, 1.0) for s, y in segments.items() if s[0] == head and s[2] >= length]
        tails = [
            (y, 1.0)
            for s, y in segments.items()
            if s[0] == tail and head_bytes[length] + tail_bytes[s[1]] > room
        ]
        if heads and tails:
            yield expression(heads + tails) <= 1


def no_good(segments: Segments, path: Sequence[Segment]) -> pulp.LpConstraint:
    """Anything but this chain."""
    return expression([(segments[segment], 1.0) for segment in path]) <= len(path) - 1
