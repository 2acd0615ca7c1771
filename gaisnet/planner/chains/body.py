"""The body of a cluster's chain as arrays: costs per holder and unit, ways in and out, bounds.

Index letters: ``o`` owners, ``n``, ``m`` holders (N), ``l`` units (L), ``h`` units of the head,
``t`` first unit of the tail. Seconds and joules are of one turn and one micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gaisnet.planner.chains.allowances import inner_rules, permitted_segments
from gaisnet.planner.chains.task import SplitTask
from gaisnet.planner.splitting import SplitInstance
from gaisnet.planner.splitting.rules import NO_RULES

__all__ = ["Body", "BoolArray", "FloatArray", "Ways"]

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Ways:
    """Between all owners and each holder, at each cut: into the body, or out of it."""

    through_s: FloatArray
    """``[L+1, N]`` what it adds to a turn's latency, the owners' own compute included."""
    stage_s: FloatArray
    """``[L+1, N]`` the cut as a stage of the pipeline; inf where an owner has no link."""
    turns_s: FloatArray
    """``[T, L+1, N]`` the same of each turn."""
    energy_j: FloatArray
    """``[L+1, N]`` per turn, the owners' own compute included."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """Everything that does not depend on where head and tail end."""

    task: SplitTask
    holders: tuple[str, ...]
    work_s: FloatArray
    """``[N, L]``"""
    work_j: FloatArray
    hop_s: FloatArray
    """``[N, N, L-1]`` both ways."""
    hop_j: FloatArray
    entry: Ways
    """Index h: after units 0..h-1."""
    leave: Ways
    """Index t: before unit t."""
    owner_busy_s: FloatArray
    """``[O, 2, L+1]`` busy seconds of each owner with a head of h units, with a tail from t."""
    owner_bytes: FloatArray
    """``[2, L+1]`` the same for additive memory."""
    owner_working: FloatArray
    """``[2, L+1]`` the same for transient memory."""
    unit_bytes: FloatArray
    """``[N, L]`` additive memory of a unit of the body on each holder."""
    unit_working: FloatArray
    """``[L]`` transient memory of a unit of the body."""
    moving: FloatArray
    """``[N, L]`` price of moving a unit to each holder, in units of the objective."""
    owners_moving: FloatArray
    """``[2, L+1]`` price of moving a head of h units, and a tail from t, to all owners."""
    taken_bytes: Mapping[str, float]
    """Memory that devices have no more of: what they hold for others, additive."""
    taken_working: Mapping[str, float]
    """The transient part of that: of all that is transient only the highest counts."""

    def room_bytes(self, device: str) -> float:
        """Memory of a device that what it holds for others leaves, transient bytes aside."""
        return float(self.task.limit_bytes[device]) - self.taken_bytes.get(device, 0.0)

    def ends_moving(self, head: int, tail: int) -> float:
        """Price of moving heads and tails."""
        return float(self.owners_moving[0, head] + self.owners_moving[1, tail])

    def all_ends_moving(self) -> FloatArray:
        """``[L+1, L+1]`` the same for each head and tail."""
        prices: FloatArray = self.owners_moving[0][:, None] + self.owners_moving[1][None, :]
        return prices

    def least_moving(self) -> FloatArray:
        """``[L+1, L+1]`` least price of moving heads, tails and what is between them."""
        least = np.concatenate([[0.0], np.cumsum(self.moving.min(axis=0))])
        between = np.maximum(least[None, :] - least[:, None], 0.0)
        prices: FloatArray = self.all_ends_moving() + between
        return prices

    def owner_need(self, head: int, tail: int) -> float:
        """Bytes that each owner needs for head and tail."""
        additive = self.owner_bytes[0, head] + self.owner_bytes[1, tail]
        working = max(self.owner_working[0, head], self.owner_working[1, tail])
        return float(additive + working)

    def busy_s(self, head: int, tail: int) -> FloatArray:
        """``[O]`` busy seconds of each owner with its own head and tail in its turn."""
        busy: FloatArray = self.owner_busy_s[:, 0, head] + self.owner_busy_s[:, 1, tail]
        return busy

    def turn_busy_s(self, head: int, tail: int) -> tuple[FloatArray, FloatArray]:
        """``[N, T]`` what each holder is busy with in each turn beside the body, and ``[T]`` the
        busiest owner of each turn."""
        own, turns = self.busy_s(head, tail), self.task.turns
        extra = np.zeros((len(self.holders), turns))
        for o, owner in enumerate(self.task.owners):
            if owner in self.holders:
                extra[self.holders.index(owner), o if turns > 1 else 0] = own[o]
        return extra, own if turns == len(own) else own.max(keepdims=True)

    def fits(self, head: int, tail: int) -> BoolArray:
        """``[N, U, U]`` whether each holder has the memory for units i..j of the body, exactly."""
        count = tail - head
        added = np.cumsum(self.unit_bytes[:, head:tail], axis=1)
        before = added - self.unit_bytes[:, head:tail]
        highest = np.zeros((count, count))
        for i in range(count):
            highest[i, i:] = np.maximum.accumulate(self.unit_working[head + i : tail])
        ends = self.owner_bytes[0, head] + self.owner_bytes[1, tail]
        ends_working = max(self.owner_working[0, head], self.owner_working[1, tail])
        owning = np.array([holder in self.task.owners for holder in self.holders], dtype=float)
        limit = np.array([self.room_bytes(holder) for holder in self.holders])
        others = np.array([self.taken_working.get(holder, 0.0) for holder in self.holders])
        least = np.maximum(owning * ends_working, others)
        working = np.maximum(highest[None], least[:, None, None])
        need = added[:, None, :] - before[:, :, None] + working + (owning * ends)[:, None, None]
        ordered = np.triu(np.ones((count, count), dtype=bool))
        room: BoolArray = need <= limit[:, None, None]
        return room & ordered & permitted_segments(self, head, tail)

    def slack_s(self, head: int, tail: int) -> float:
        """Latency beyond the stages of entry and exit that no choice of holders avoids."""
        total = 0.0
        for ways, cut in ((self.entry, head), (self.leave, tail)):
            linked = np.isfinite(ways.stage_s[cut])
            if linked.any():
                beyond = ways.through_s[cut, linked] - ways.stage_s[cut, linked]
                total += float(beyond.min())
        return total

    def most_units(self, head: int, tail: int) -> int:
        """Units between head and tail that all holders could hold if all were like the least."""
        if head == tail or not self.holders:
            return 0
        room = self._capacity(head, tail, roomy=True) * (1.0 + 1e-9)
        least = np.maximum(self.unit_bytes[:, head:tail].min(axis=1), 1e-9)
        each = np.sort(np.minimum(room // least, tail - head))[::-1]
        return int(each[: self.task.max_stages].sum())

    def may_fit(self, ends: tuple[int, int]) -> bool:
        """Whether owners have room for head and tail, and holders jointly for the body."""
        limit = min(
            self.room_bytes(owner) - self.taken_working.get(owner, 0.0)
            for owner in self.task.owners
        )
        return self.owner_need(*ends) <= limit and self.most_units(*ends) >= ends[1] - ends[0]

    def with_limit(self, device: str, limit_bytes: int) -> Body:
        """The same with another memory limit of one device."""
        limits = {**self.task.limit_bytes, device: limit_bytes}
        return replace(self, task=replace(self.task, limit_bytes=limits))

    def instance(self, head: int, tail: int, *, roomy: bool, pipelined: bool) -> SplitInstance:
        """The chain between ``head`` and ``tail`` for the exact search.

        The last row stands for the owners: it holds nothing, and its busy time is a floor.

        Args:
            head: Units of the head.
            tail: First unit of the tail.
            roomy: Charge each holder the least transient memory of a unit, so that no chain that
                fits is ruled out; otherwise the most, so that every chain found fits.
            pipelined: Entry and exit count as stages of the pipeline; otherwise with all that
                they add to the latency, and holders with the price of moving.
        """
        units = slice(head, tail)
        add = _owners_row
        entry = self.entry.stage_s[head] if pipelined else self.entry.through_s[head]
        leave = self.leave.stage_s[tail] if pipelined else self.leave.through_s[tail]
        rows, count, turns = len(self.holders) + 1, tail - head, self.task.turns
        folded = np.zeros_like(self.moving) if pipelined else self.moving / turns
        work_s, work_j = self.work_s + folded, self.work_j + folded / self.task.microbatches
        allowed = np.ones((rows, count), dtype=bool)
        allowed[-1] = False
        for n, holder in enumerate(self.holders):
            allowed[n, : max(self.task.rules.barred_units.get(holder, 0) - head, 0)] = False
        return SplitInstance(
            work_s=add(work_s[:, units]),
            work_j=add(work_j[:, units]),
            memory_bytes=add(self.unit_bytes[:, units]),
            capacity_bytes=add(self._capacity(head, tail, roomy)),
            hop_s=_cuts(self.hop_s[:, :, head : tail - 1]),
            hop_j=_cuts(self.hop_j[:, :, head : tail - 1]),
            entry_s=add(entry),
            entry_j=add(self.entry.energy_j[head]),
            exit_s=add(leave),
            exit_j=add(self.leave.energy_j[tail]),
            base_busy_s=self._base_busy_s(head, tail),
            allowed=allowed,
            max_segments=self.task.max_stages,
            microbatches=self.task.microbatches,
            colocated_units=tuple(
                tuple(unit - head for unit in units)
                for units in self.task.rules.colocated_units
                if head <= min(units) and max(units) < tail
            ),
            rules=inner_rules(self, head, tail) or NO_RULES,
        )

    def _capacity(self, head: int, tail: int, roomy: bool) -> FloatArray:
        """``[N]`` memory that is left for additive bytes of the body."""
        working = self.unit_working[head:tail]
        charge = float(working.min() if roomy else working.max())
        own = self.owner_bytes[0, head] + self.owner_bytes[1, tail]
        own_working = max(self.owner_working[0, head], self.owner_working[1, tail])
        left = []
        for holder in self.holders:
            limit, most = self.room_bytes(holder), self.taken_working.get(holder, 0.0)
            if holder in self.task.owners:
                left.append(limit - own - max(charge, own_working, most))
            else:
                left.append(limit - max(charge, most))
        room: FloatArray = np.maximum(np.array(left), 0.0)
        return room

    def _base_busy_s(self, head: int, tail: int) -> FloatArray:
        """``[N + 1]`` mean over turns of what owners are busy with beside the body."""
        own = self.busy_s(head, tail)
        by_owner = dict(zip(self.task.owners, own, strict=True))
        base = [by_owner.get(holder, 0.0) / self.task.turns for holder in self.holders]
        floor = own.max() if self.task.turns == 1 else own.mean()
        return np.array([*base, floor])


def _owners_row(values: FloatArray) -> FloatArray:
    row: FloatArray = np.concatenate([values, np.zeros((1, *values.shape[1:]))])
    return row


def _cuts(values: FloatArray) -> FloatArray:
    padded: FloatArray = np.pad(values, ((0, 1), (0, 1), (0, 0)))
    return padded
