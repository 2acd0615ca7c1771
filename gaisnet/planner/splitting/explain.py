"""Why a problem has no solution, in words and with the shortage where there is one."""

from __future__ import annotations

from gaisnet.planner.splitting.conflict import Solve, conflict, mends
from gaisnet.planner.splitting.evaluate import MEMORY_TOLERANCE
from gaisnet.planner.splitting.problem import SplitProblem

__all__ = ["why_infeasible"]


def why_infeasible(problem: SplitProblem, solve: Solve) -> str:
    """The first reason that holds of: a unit, the pins, the memory in total, rules in conflict.

    Args:
        problem: It has no split.
        solve: ``solve_instance``, to find out which rules it would have one without.
    """
    for check in (_unit_without_device, _pins, _total_memory):
        reason = check(problem)
        if reason:
            return reason
    names = conflict(problem, solve)
    if not names:
        return "no order of devices and cuts satisfies memory, links and segment rules together"
    advice = "; or ".join(mends(problem, names, solve))
    binding = f"{names[0]} leaves no split" if len(names) == 1 else f"{_all_of(names)} conflict"
    return f"{binding}, given memory and links{f': {advice}' if advice else ''}"


def _all_of(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _unit_without_device(problem: SplitProblem) -> str | None:
    most = max(device.memory_bytes for device in problem.devices)
    for unit in range(len(problem.units)):
        short = problem.unit_bytes(unit) - most
        if short > MEMORY_TOLERANCE * most:
            return (
                f"unit {unit} needs {problem.unit_bytes(unit):.0f} bytes, {short:.0f} more than "
                f"the largest device has"
            )
    return None


def _pins(problem: SplitProblem) -> str | None:
    if problem.owner is None:
        return None
    ends = 1 if problem.topology == "u_shape" else 0
    first, last = max(problem.pin_first, ends), max(problem.pin_last, ends)
    units = len(problem.units)
    pinned = {*range(first), *range(units - last, units)}
    if problem.topology == "chain" and first and last:
        pinned = {*range(units)}
    room = problem.devices[problem.owner].memory_bytes
    short = sum(problem.unit_bytes(unit) for unit in sorted(pinned)) - room
    if short <= MEMORY_TOLERANCE * room:
        return None
    return (
        f"the owner, device {problem.owner}, must hold units {sorted(pinned)} "
        f"(pin_first {problem.pin_first}, pin_last {problem.pin_last}, {problem.topology}), "
        f"but its memory is {short:.0f} bytes too small"
    )


def _total_memory(problem: SplitProblem) -> str | None:
    need = sum(problem.unit_bytes(unit) for unit in range(len(problem.units)))
    sizes = sorted((device.memory_bytes for device in problem.devices), reverse=True)
    holders = min(len(sizes), problem.max_segments or len(sizes))
    short = need - sum(sizes[:holders])
    if short <= MEMORY_TOLERANCE * need:
        return None
    limit = f" (max_segments {problem.max_segments})" if holders < len(sizes) else ""
    return (
        f"the model needs {need:.0f} bytes, but {holders} devices{limit} have {short:.0f} too few"
    )
