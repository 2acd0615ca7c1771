"""The solver's view of a splitting problem: plain arrays, whatever they were composed from.

Index letters, here and in the solvers: ``n``, ``m`` devices; ``i`` first and ``j`` last unit of a
segment; ``N`` devices, ``L`` units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gaisnet.planner.splitting.arrays import BoolArray, FloatArray
from gaisnet.planner.splitting.problem import SplitProblem
from gaisnet.planner.splitting.rules import NO_RULES, Allowance, SideRules, segment_sums

__all__ = [
    "BoolArray",
    "FloatArray",
    "SplitInstance",
    "cost_allowance",
    "energy_allowance",
    "time_allowance",
    "translate",
]


@dataclass(frozen=True, kw_only=True)
class SplitInstance:
    """A chain of segments on distinct devices; every cost is a non-negative float.

    Raises:
        ValueError: An array has the wrong shape, or holds a NaN or a negative figure.
    """

    work_s: FloatArray
    """``[N, L]`` seconds that device n is busy with unit l, forward and backward together."""
    work_j: FloatArray
    """``[N, L]`` joules of the same work."""
    memory_bytes: FloatArray
    """``[N, L]`` memory that unit l takes on device n."""
    capacity_bytes: FloatArray
    """``[N]`` memory of the devices."""
    hop_s: FloatArray
    """``[N, N, L-1]`` seconds of the cut after unit l from n to m, both ways; inf: no link."""
    hop_j: FloatArray
    """``[N, N, L-1]`` joules of the same cut."""
    entry_s: FloatArray
    """``[N]`` seconds that it costs to begin on device n (raw input, or the hop from a fixed
    head): part of the latency, and a link stage of the period. inf: cannot begin there."""
    entry_j: FloatArray
    exit_s: FloatArray
    """``[N]`` the same for ending on device n."""
    exit_j: FloatArray
    base_busy_s: FloatArray
    """``[N]`` busy time that device n has anyway, used or not; it counts in the period only."""
    allowed: BoolArray
    """``[N, L]`` may unit l be on device n?"""
    max_segments: int | None = None
    microbatches: int = 1
    two_ends: tuple[int, int] | None = None
    """Rows (head, tail) that are one device: the first segment is on head, the last on tail (or
    everything on head), and memory and busy time of both add up to at most
    ``capacity_bytes[head]``, ``base_busy_s[head]`` counting once."""
    colocated_units: tuple[tuple[int, ...], ...] = ()
    """Sets of units that are on one device."""
    rules: SideRules = NO_RULES
    """What the tables cannot hold."""

    def __post_init__(self) -> None:
        count, units = self.work_s.shape
        shapes = {
            "work_s": (count, units),
            "work_j": (count, units),
            "memory_bytes": (count, units),
            "allowed": (count, units),
            "hop_s": (count, count, units - 1),
            "hop_j": (count, count, units - 1),
        }
        for name in ("capacity_bytes", "entry_s", "entry_j", "exit_s", "exit_j", "base_busy_s"):
            shapes[name] = (count,)
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
            if not (array >= 0).all():
                raise ValueError(f"{name} holds a negative figure or NaN")

    @property
    def devices(self) -> int:
        """N."""
        return int(self.work_s.shape[0])

    @property
    def units(self) -> int:
        """L."""
        return int(self.work_s.shape[1])


def translate(problem: SplitProblem) -> SplitInstance:
    """``problem`` as arrays; under ``u_shape`` the owner's tail is one more row, the last."""
    rows = [*range(len(problem.devices))]
    if problem.topology == "u_shape" and problem.owner is not None:
        rows.append(problem.owner)
    flops = np.array([problem.unit_flops(unit) for unit in range(len(problem.units))])
    speed = np.array([problem.devices[row].flops_per_s for row in rows])
    joules_per_flop = np.array([problem.devices[row].joules_per_flop for row in rows])
    unit_bytes = np.array([problem.unit_bytes(unit) for unit in range(len(problem.units))])
    entry_s, entry_j = _entry(problem, rows)
    hop_s, hop_j = _hops(problem, rows)
    zeros = np.zeros(len(rows))
    instance = SplitInstance(
        work_s=flops[None, :] / speed[:, None],
        work_j=joules_per_flop[:, None] * flops[None, :],
        memory_bytes=np.repeat(unit_bytes[None, :], len(rows), axis=0),
        capacity_bytes=np.array([problem.devices[row].memory_bytes for row in rows]),
        hop_s=hop_s,
        hop_j=hop_j,
        entry_s=entry_s,
        entry_j=entry_j,
        exit_s=zeros,
        exit_j=zeros,
        base_busy_s=zeros,
        allowed=_allowed(problem, rows),
        max_segments=problem.max_segments,
        microbatches=problem.microbatches,
        two_ends=(rows[-1], len(rows) - 1) if len(rows) > len(problem.devices) else None,
        colocated_units=problem.colocated_units,
    )
    return replace(instance, rules=_rules(problem, rows, instance))


def _entry(problem: SplitProblem, rows: list[int]) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules of the raw input's way from the owner to each possible first device."""
    barred = np.array([0.0 if problem.may_begin(row) else np.inf for row in rows])
    if not problem.send_input or problem.owner is None:
        return barred, np.zeros(len(rows))
    away = [(problem.owner, row) if row != problem.owner else None for row in rows]
    seconds = [problem.hop_s(*way, problem.input_bytes) if way else 0.0 for way in away]
    joules = [problem.hop_j(*way, problem.input_bytes) if way else 0.0 for way in away]
    return np.array(seconds) + barred, np.array(joules)


def _hops(problem: SplitProblem, rows: list[int]) -> tuple[FloatArray, FloatArray]:
    """``[N, N, L-1]`` seconds and joules of each cut; no way between the owner's own two rows."""
    output_bytes = np.array([unit.output_bytes for unit in problem.units[:-1]])
    pick = np.ix_(rows, rows)
    bandwidth = np.array(problem.links.bandwidth_bytes_per_s)[pick][:, :, None]
    linked = bandwidth > 0.0
    seconds = np.array(problem.links.latency_s)[pick][:, :, None] + output_bytes / np.where(
        linked, bandwidth, 1.0
    )
    seconds = np.where(linked, seconds, np.inf)
    joules = np.array(problem.links.joules_per_byte)[pick][:, :, None] * output_bytes
    if problem.mode == "training":
        seconds = seconds + seconds.transpose(1, 0, 2)
        joules = joules + joules.transpose(1, 0, 2)
    seconds[np.equal.outer(rows, rows)] = np.inf
    for m, row in enumerate(rows):
        barred = [unit for unit in range(len(output_bytes)) if not problem.may_cut(row, unit)]
        seconds[:, m, barred] = np.inf
    return seconds, joules


def _allowed(problem: SplitProblem, rows: list[int]) -> BoolArray:
    """Pins, forbidden devices, tiers, and the U-shape's rule that the ends are on the owner."""
    units = len(problem.units)
    allowed = np.ones((len(rows), units), dtype=bool)
    allowed[[row in problem.forbidden_devices for row in rows]] = False
    for tier in problem.privacy_tiers:
        barred = [row not in (*tier.devices, problem.owner) for row in rows]
        allowed[barred, : tier.first_units] = False
    if problem.owner is None:
        return allowed
    ends = 1 if problem.topology == "u_shape" else 0
    others = np.array([row != problem.owner for row in rows])
    first, last = max(problem.pin_first, ends), max(problem.pin_last, ends)
    allowed[np.ix_(others, np.arange(units) < first)] = False
    allowed[np.ix_(others, np.arange(units) >= units - last)] = False
    if ends:
        allowed[-1, :first] = False
    return allowed


def _rules(problem: SplitProblem, rows: list[int], instance: SplitInstance) -> SideRules:
    """What the tables cannot hold. The owner's head row stands for the owner: it is always used."""
    allowances = []
    if problem.energy_budget_j is not None:
        allowances.append(energy_allowance(instance, problem.energy_budget_j))
    if problem.cost_budget is not None:
        price_per_s = np.array([problem.devices[row].price_per_hour / 3600.0 for row in rows])
        allowances.append(cost_allowance(instance, price_per_s, problem.cost_budget))
    return SideRules(
        forced=problem.forced_devices,
        together=problem.together_devices,
        apart=tuple(tuple(sorted(set(devices))) for devices in problem.apart_devices),
        allowances=tuple(each for each in allowances if np.isfinite(each.limit)),
    )


def time_allowance(instance: SplitInstance, limit_s: float = np.inf) -> Allowance:
    """At most so many seconds of latency."""
    segment = segment_sums(instance.work_s)
    segment[:, 0, :] += instance.entry_s[:, None]
    segment[:, :, -1] += instance.exit_s[:, None]
    return Allowance(name="latency", segment=segment, cut=instance.hop_s, limit=limit_s)


def energy_allowance(instance: SplitInstance, limit_j: float = np.inf) -> Allowance:
    """At most so many joules of compute, cuts, entry and exit."""
    segment = segment_sums(instance.work_j)
    segment[:, 0, :] += instance.entry_j[:, None]
    segment[:, :, -1] += instance.exit_j[:, None]
    return Allowance(name="energy_budget_j", segment=segment, cut=instance.hop_j, limit=limit_j)


def cost_allowance(instance: SplitInstance, price_per_s: FloatArray, limit: float) -> Allowance:
    """At most so much money for busy time."""
    segment = segment_sums(np.where(price_per_s[:, None] > 0.0, instance.work_s, 0.0))
    return Allowance(
        name="cost_budget",
        segment=segment * price_per_s[:, None, None],
        cut=np.zeros_like(instance.hop_j),
        limit=limit,
    )
