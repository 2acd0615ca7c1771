"""Which side constraints a given split breaks, in words, straight from the problem's definition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from gaisnet.planner.splitting.problem import SplitProblem
from gaisnet.planner.splitting.solution import Segment

__all__ = ["BUDGET_TOLERANCE", "broken_rules"]

BUDGET_TOLERANCE = 1e-9
"""Relative: the same sum in another order must not turn a fit into an overrun."""


def broken_rules(
    problem: SplitProblem, segments: Sequence[Segment], energy_j: float, cost: float
) -> list[str]:
    """Every broken side constraint; figures of the split are given."""
    return [
        *_devices(problem, {segment[0] for segment in segments}),
        *_units(problem, segments),
        *_leaks(problem, segments),
        *_budgets(problem, energy_j, cost),
    ]


def _devices(problem: SplitProblem, used: set[int]) -> Iterator[str]:
    for device in sorted(used & set(problem.forbidden_devices)):
        yield f"forbidden_devices: device {device} holds a segment"
    for device in sorted(set(problem.forced_devices) - used):
        yield f"forced_devices: device {device} holds no segment"
    for devices in problem.together_devices:
        if 0 < len(used & set(devices)) < len(set(devices)):
            idle = sorted(set(devices) - used)
            yield f"together_devices: of {sorted(set(devices))} devices {idle} hold no segment"
    for devices in problem.apart_devices:
        if len(used & set(devices)) > 1:
            yield f"apart_devices: devices {sorted(used & set(devices))} all hold segments"


def _units(problem: SplitProblem, segments: Sequence[Segment]) -> Iterator[str]:
    holder = {unit: n for n, first, last in segments for unit in range(first, last + 1)}
    for units in problem.colocated_units:
        holders = sorted({holder[unit] for unit in units if unit in holder})
        if len(holders) > 1:
            yield f"colocated_units: units {sorted(set(units))} are on devices {holders}"
    for tier in problem.privacy_tiers:
        bound = range(tier.first_units)
        free = {*tier.devices, problem.owner}
        away = sorted({holder[unit] for unit in bound if holder.get(unit, -1) not in free} - {-1})
        if away:
            yield f"privacy_tiers: some of the first {tier.first_units} units are on {away}"


def _leaks(problem: SplitProblem, segments: Sequence[Segment]) -> Iterator[str]:
    if segments and not problem.may_begin(segments[0][0]):
        yield f"max_leakage: device {segments[0][0]} sees the raw input and is not trusted with it"
    for (sender, _, unit), (receiver, _, _) in pairwise(segments):
        if sender != receiver and not problem.may_cut(receiver, unit):
            yield (
                f"max_leakage: the cut after unit {unit} leaks {problem.units[unit].leakage:.6g} "
                f"to device {receiver}"
            )


def _budgets(problem: SplitProblem, energy_j: float, cost: float) -> Iterator[str]:
    for name, spent, limit in (
        ("energy_budget_j", energy_j, problem.energy_budget_j),
        ("cost_budget", cost, problem.cost_budget),
    ):
        if limit is not None and spent > limit * (1 + BUDGET_TOLERANCE):
            yield f"{name}: {spent:.6g} is spent of {limit:.6g}"
