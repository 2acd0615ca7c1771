"""Figures and broken constraints of a given split, straight from the problem's definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from gaisnet.planner.splitting.broken import broken_rules
from gaisnet.planner.splitting.problem import SplitProblem
from gaisnet.planner.splitting.solution import Objective, Segment, SplitEvaluation

__all__ = ["MEMORY_TOLERANCE", "evaluate_split", "objective_value"]

MEMORY_TOLERANCE = 1e-9
"""Relative: sums of the same bytes in another order must not turn a fit into an overflow."""


def evaluate_split(problem: SplitProblem, segments: Iterable[Sequence[int]]) -> SplitEvaluation:
    """Latency, period, energy, makespan, memory and violations of ``segments``.

    Args:
        problem: Units, devices, links and rules.
        segments: ``(device_index, first_unit, last_unit)`` in the order of the chain. Segments
            that name no device or unit of the problem are reported, and left out of the figures.
    """
    given = [(int(device), int(first), int(last)) for device, first, last in segments]
    known = [segment for segment in given if _exists(problem, segment)]
    latency_s, period_s = _times_s(problem, known)
    memory_bytes = _memory_bytes(problem, known)
    energy_j, cost = _energy_j(problem, known), _cost(problem, known)
    return SplitEvaluation(
        latency_s=latency_s,
        period_s=period_s,
        energy_j=energy_j,
        makespan_s=latency_s + (problem.microbatches - 1) * period_s,
        memory_bytes=tuple(memory_bytes),
        cost=cost,
        violations=(
            *_unknown(problem, given),
            *_coverage(problem, known),
            *_placement(problem, known),
            *_overflows(problem, memory_bytes),
            *_missing_links(problem, known),
            *broken_rules(problem, known, energy_j, cost),
        ),
    )


def objective_value(evaluation: SplitEvaluation, objective: Objective) -> float:
    """The figure of ``evaluation`` that ``objective`` minimises."""
    return {
        "latency": evaluation.latency_s,
        "period": evaluation.period_s,
        "makespan": evaluation.makespan_s,
        "energy": evaluation.energy_j,
    }[objective]


def _exists(problem: SplitProblem, segment: Segment) -> bool:
    device, first, last = segment
    return 0 <= device < len(problem.devices) and 0 <= first <= last < len(problem.units)


def _cuts(segments: Sequence[Segment]) -> list[tuple[int, int, int]]:
    """(sender, receiver, last unit before the cut) of each cut between two devices."""
    return [(a[0], b[0], a[2]) for a, b in pairwise(segments) if a[0] != b[0]]


def _upload(problem: SplitProblem, segments: Sequence[Segment]) -> tuple[int, int] | None:
    """(owner, first device) if the owner has to send the raw input there."""
    if not (problem.send_input and problem.owner is not None and segments):
        return None
    return (problem.owner, segments[0][0]) if segments[0][0] != problem.owner else None


def _stages_s(problem: SplitProblem, segments: Sequence[Segment]) -> tuple[list[float], ...]:
    """Busy time per device, and transfer time per link stage (raw input first)."""
    busy_s = [0.0] * len(problem.devices)
    for device, first, last in segments:
        flops = sum(problem.unit_flops(unit) for unit in range(first, last + 1))
        busy_s[device] += flops / problem.devices[device].flops_per_s
    links_s = [problem.cut_s(*cut) for cut in _cuts(segments)]
    upload = _upload(problem, segments)
    if upload:
        links_s.insert(0, problem.hop_s(*upload, problem.input_bytes))
    return busy_s, links_s


def _times_s(problem: SplitProblem, segments: Sequence[Segment]) -> tuple[float, float]:
    busy_s, links_s = _stages_s(problem, segments)
    return sum(busy_s) + sum(links_s), max([*busy_s, *links_s])


def _energy_j(problem: SplitProblem, segments: Sequence[Segment]) -> float:
    energy_j = sum(problem.cut_j(*cut) for cut in _cuts(segments))
    for device, first, last in segments:
        flops = sum(problem.unit_flops(unit) for unit in range(first, last + 1))
        energy_j += flops * problem.devices[device].joules_per_flop
    upload = _upload(problem, segments)
    if upload:
        energy_j += problem.hop_j(*upload, problem.input_bytes)
    return energy_j


def _cost(problem: SplitProblem, segments: Sequence[Segment]) -> float:
    busy_s, _ = _stages_s(problem, segments)
    return sum(problem.busy_cost(device, seconds) for device, seconds in enumerate(busy_s))


def _memory_bytes(problem: SplitProblem, segments: Sequence[Segment]) -> list[float]:
    memory_bytes = [0.0] * len(problem.devices)
    for device, first, last in segments:
        memory_bytes[device] += sum(problem.unit_bytes(u) for u in range(first, last + 1))
    return memory_bytes


def _unknown(problem: SplitProblem, segments: Sequence[Segment]) -> list[str]:
    return [
        f"segment {index}: {segment} names no device or units of this problem "
        f"({len(problem.devices)} devices, {len(problem.units)} units)"
        for index, segment in enumerate(segments)
        if not _exists(problem, segment)
    ]


def _coverage(problem: SplitProblem, segments: Sequence[Segment]) -> list[str]:
    found = []
    expected = 0
    for index, (device, first, last) in enumerate(segments):
        if first != expected:
            found.append(
                f"segment {index} on device {device} starts at unit {first} instead of {expected}"
            )
        expected = last + 1
    if expected != len(problem.units):
        found.append(f"units {expected} to {len(problem.units) - 1} are on no device")
    return found


def _placement(problem: SplitProblem, segments: Sequence[Segment]) -> list[str]:
    """Who may hold what: one segment a device, pins, the U-shape, the number of segments."""
    found = _repeated(problem, segments)
    if problem.topology == "u_shape" and segments:
        found += _foreign_ends(problem, segments)
    found += _pinned_away(problem, segments)
    if problem.max_segments is not None and len(segments) > problem.max_segments:
        found.append(f"{len(segments)} segments, {problem.max_segments} are allowed")
    return found


def _foreign_ends(problem: SplitProblem, segments: Sequence[Segment]) -> list[str]:
    return [
        f"u_shape: the {name} segment is on device {end[0]}, not on {problem.owner}"
        for name, end in (("first", segments[0]), ("last", segments[-1]))
        if end[0] != problem.owner
    ]


def _pinned_away(problem: SplitProblem, segments: Sequence[Segment]) -> list[str]:
    units, owner = len(problem.units), problem.owner
    pinned = {*range(problem.pin_first), *range(units - problem.pin_last, units)}
    return [
        f"pinned units {sorted(away)} are on device {device}, not on owner {owner}"
        for device, first, last in segments
        if device != owner and (away := pinned & {*range(first, last + 1)})
    ]


def _repeated(problem: SplitProblem, segments: Sequence[Segment]) -> list[str]:
    found = []
    for device in sorted({segment[0] for segment in segments}):
        places = [index for index, segment in enumerate(segments) if segment[0] == device]
        two_ends = places == [0, len(segments) - 1]
        if len(places) == 1 or (
            problem.topology == "u_shape" and device == problem.owner and two_ends
        ):
            continue
        found.append(f"device {device} holds segments {places}; only one is allowed")
    return found


def _overflows(problem: SplitProblem, memory_bytes: Sequence[float]) -> list[str]:
    return [
        f"device {index}: needs {used:.0f} bytes and has {device.memory_bytes:.0f}, "
        f"{used - device.memory_bytes:.6g} too few"
        for index, (used, device) in enumerate(zip(memory_bytes, problem.devices, strict=True))
        if used > device.memory_bytes * (1 + MEMORY_TOLERANCE)
    ]


def _missing_links(problem: SplitProblem, segments: Sequence[Segment]) -> list[str]:
    bandwidth = problem.links.bandwidth_bytes_per_s
    found = []
    for sender, receiver, unit in _cuts(segments):
        if bandwidth[sender][receiver] == 0.0:
            found.append(
                f"no link from device {sender} to {receiver} for the cut after unit {unit}"
            )
        if problem.mode == "training" and bandwidth[receiver][sender] == 0.0:
            found.append(
                f"no link from device {receiver} to {sender} for the gradient of unit {unit}"
            )
    upload = _upload(problem, segments)
    if upload and bandwidth[upload[0]][upload[1]] == 0.0:
        found.append(f"no link from owner {upload[0]} to device {upload[1]} for the raw input")
    return found
