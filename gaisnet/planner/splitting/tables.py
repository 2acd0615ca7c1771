"""Costs of all segments and cuts of an instance, and the branches of a U-shape.

Memory, pins and forbidden places are in these tables by construction: whatever is not allowed
costs infinity. Entry and exit costs are folded into the segments that begin or end the chain.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from gaisnet.planner.splitting.evaluate import MEMORY_TOLERANCE
from gaisnet.planner.splitting.instance import BoolArray, FloatArray, SplitInstance
from gaisnet.planner.splitting.rules import segment_sums
from gaisnet.planner.splitting.solution import Objective, Segment

__all__ = ["ChainTables", "branch", "chain_tables", "head_ends", "root_tables"]


@dataclass(frozen=True)
class ChainTables:
    """A chain problem: each device at most one segment, segments joined by cuts."""

    segment_cost: FloatArray
    """``[N, L, L]`` additive objective of device n holding units i..j; inf: not allowed."""
    segment_stage: FloatArray
    """``[N, L, L]`` seconds of the segment as a pipeline stage; inf where it is not allowed."""
    cut_cost: FloatArray
    """``[N, N, L-1]`` additive objective of the cut after unit j from n to m."""
    cut_stage: FloatArray
    """``[N, N, L-1]`` seconds of the same cut as a pipeline stage."""
    floor_s: float
    """The period cannot be below this: busy time that some device has anyway."""
    max_segments: int

    @property
    def devices(self) -> int:
        """N."""
        return int(self.segment_cost.shape[0])

    @property
    def units(self) -> int:
        """L."""
        return int(self.segment_cost.shape[1])

    @cached_property
    def from_unit(self) -> FloatArray:
        """``[L, K, N]`` cost of device n holding units i..i+d; K is the longest segment."""
        _, i, j = np.nonzero(np.isfinite(self.segment_cost))
        longest = int((j - i).max(initial=0)) + 1
        spans = np.full((self.units, longest, self.devices), np.inf)
        for d in range(longest):
            spans[: self.units - d, d] = np.diagonal(self.segment_cost, d, 1, 2).T
        return spans

    @cached_property
    def cut_after(self) -> FloatArray:
        """``[L-1, N, N]`` additive objective of the cut after unit j from n to m."""
        return np.ascontiguousarray(self.cut_cost.transpose(2, 0, 1))

    def within(self, period_s: float) -> ChainTables:
        """The same problem with every stage at most ``period_s`` long."""
        return replace(
            self,
            segment_cost=np.where(self.segment_stage <= period_s, self.segment_cost, np.inf),
            segment_stage=np.where(self.segment_stage <= period_s, self.segment_stage, np.inf),
            cut_cost=np.where(self.cut_stage <= period_s, self.cut_cost, np.inf),
            cut_stage=np.where(self.cut_stage <= period_s, self.cut_stage, np.inf),
        )

    def cost_of(self, path: list[Segment]) -> float:
        """Additive objective of a chain."""
        cost = sum(float(self.segment_cost[segment]) for segment in path)
        for (n, _, j), (m, _, _) in pairwise(path):
            cost += float(self.cut_cost[n, m, j])
        return cost

    def period_of(self, path: list[Segment]) -> float:
        """Longest stage of a chain."""
        stages = [float(self.segment_stage[segment]) for segment in path]
        stages += [float(self.cut_stage[n, m, j]) for (n, _, j), (m, _, _) in pairwise(path)]
        return max([self.floor_s, *stages])


def chain_tables(instance: SplitInstance, objective: Objective) -> ChainTables:
    """Tables of ``instance`` as a plain chain, the coupling of ``two_ends`` left out.

    Period and makespan get latencies as their additive costs.
    """
    energy = objective == "energy"
    possible = _possible(instance)
    cost = segment_sums(instance.work_j if energy else instance.work_s)
    stage = segment_sums(instance.work_s) + instance.base_busy_s[:, None, None]
    entry, leave = (
        (instance.entry_j, instance.exit_j) if energy else (instance.entry_s, instance.exit_s)
    )
    cost[:, 0, :] += entry[:, None]
    cost[:, :, -1] += leave[:, None]
    stage[:, 0, :] = np.maximum(stage[:, 0, :], instance.entry_s[:, None])
    stage[:, :, -1] = np.maximum(stage[:, :, -1], instance.exit_s[:, None])
    possible &= np.isfinite(stage) & np.isfinite(cost)
    cut_stage = _without_diagonal(instance.hop_s)
    cut_cost = np.where(np.isfinite(cut_stage), instance.hop_j if energy else cut_stage, np.inf)
    return ChainTables(
        segment_cost=np.where(possible, cost, np.inf),
        segment_stage=np.where(possible, stage, np.inf),
        cut_cost=cut_cost,
        cut_stage=cut_stage,
        floor_s=float(instance.base_busy_s.max()),
        max_segments=min(instance.max_segments or instance.devices, instance.devices),
    )


def _possible(instance: SplitInstance) -> BoolArray:
    """``[N, L, L]`` i <= j, all units allowed, and they fit into the memory."""
    usable = instance.allowed & np.isfinite(instance.work_s) & np.isfinite(instance.work_j)
    clear: BoolArray = segment_sums((~usable).astype(np.float64)) == 0
    ordered = np.triu(np.ones((instance.units, instance.units), dtype=bool))
    room = instance.capacity_bytes * (1 + MEMORY_TOLERANCE)
    fits: BoolArray = segment_sums(instance.memory_bytes) <= room[:, None, None]
    return ordered & clear & fits & _undivided(instance)


def _undivided(instance: SplitInstance) -> BoolArray:
    """``[N, L, L]`` no segment tears co-located units apart; the two ends of a U-shape may, since
    they are one device, and ``branch`` sees to it that they do not."""
    first, last = np.arange(instance.units)[:, None], np.arange(instance.units)[None, :]
    whole = np.ones((instance.units, instance.units), dtype=bool)
    for units in instance.colocated_units:
        inside = sum(((first <= unit) & (unit <= last)).astype(int) for unit in set(units))
        whole &= (inside == 0) | (inside == len(set(units)))
    undivided = np.repeat(whole[None], instance.devices, axis=0)
    undivided[list(instance.two_ends or ())] = True
    return undivided


def _without_diagonal(cuts: FloatArray) -> FloatArray:
    off = cuts.copy()
    off[np.arange(len(cuts)), np.arange(len(cuts))] = np.inf
    return off


def root_tables(instance: SplitInstance, tables: ChainTables) -> ChainTables:
    """A relaxation of all branches: the chain begins on the head row and ends on the tail row,
    or on the head row if that holds everything; what the two share is not yet counted."""
    if instance.two_ends is None:
        return tables
    head, tail = instance.two_ends
    others = np.arange(tables.devices) != head
    cost, stage = tables.segment_cost.copy(), tables.segment_stage.copy()
    for table in (cost, stage):
        table[head, 1:, :] = np.inf
        table[tail, :, :-1] = np.inf
        table[others, 0, :] = np.inf
        table[others & (np.arange(tables.devices) != tail), :, -1] = np.inf
    cut_cost, cut_stage = tables.cut_cost.copy(), tables.cut_stage.copy()
    for table in (cut_cost, cut_stage):
        table[head, tail], table[tail] = np.inf, np.inf
    return replace(
        tables, segment_cost=cost, segment_stage=stage, cut_cost=cut_cost, cut_stage=cut_stage
    )


def head_ends(instance: SplitInstance, root: ChainTables) -> list[int | None]:
    """The branches of ``root``, each named by the last unit of the head; None: just one.

    The solutions of all branches together are those of the instance.
    """
    if instance.two_ends is None:
        return [None]
    return [int(j) for j in np.flatnonzero(np.isfinite(root.segment_cost[instance.two_ends[0], 0]))]


def branch(instance: SplitInstance, root: ChainTables, j: int | None) -> ChainTables:
    """``root`` with the head fixed to units 0..j.

    The tail's memory and busy time then know what the head has left, so that nothing but the
    tables couples the two.
    """
    if instance.two_ends is None or j is None:
        return root
    head, tail = instance.two_ends
    cost, stage = root.segment_cost.copy(), root.segment_stage.copy()
    cost[:, 0], stage[:, 0] = np.inf, np.inf
    cost[head, 0, j], stage[head, 0, j] = (
        root.segment_cost[head, 0, j],
        root.segment_stage[head, 0, j],
    )
    used_bytes = instance.memory_bytes[head, : j + 1].sum()
    tail_bytes = np.cumsum(instance.memory_bytes[tail, ::-1])[::-1]
    room = instance.capacity_bytes[head] * (1 + MEMORY_TOLERANCE)
    full = (used_bytes + tail_bytes > room) | _torn(instance, j)
    cost[tail, full, -1], stage[tail, full, -1] = np.inf, np.inf
    tail_busy_s = np.cumsum(instance.work_s[tail, ::-1])[::-1]
    head_busy_s = instance.base_busy_s[head] + instance.work_s[head, : j + 1].sum()
    stage[tail, :, -1] = np.maximum(stage[tail, :, -1], head_busy_s + tail_busy_s)
    return replace(root, segment_cost=cost, segment_stage=stage)


def _torn(instance: SplitInstance, j: int) -> BoolArray:
    """``[L]`` first units of tails that tear co-located units apart, given the head 0..j."""
    torn = np.zeros(instance.units, dtype=bool)
    for units in instance.colocated_units:
        beyond = [unit for unit in units if unit > j]
        if beyond and min(units) <= j:
            torn[min(beyond) + 1 :] = True
        elif beyond:
            torn[min(beyond) + 1 : max(beyond) + 1] = True
    return torn
