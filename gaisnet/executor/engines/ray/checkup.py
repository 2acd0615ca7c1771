"""Looks at every device of a plan before anything starts: ``gaisnet doctor --address``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping

from gaisnet.executor.build import devices_of
from gaisnet.executor.engines.ray.engine import TAKEN, RayEngine
from gaisnet.executor.engines.ray.messages import UNKNOWN, VERSIONS, DeviceFacts
from gaisnet.executor.finding import Finding
from gaisnet.executor.placement import compute_finding, planned_compute
from gaisnet.executor.planfiles import PlanFiles
from gaisnet.nodes.cluster import joined
from gaisnet.nodes.node import PROFILE_LABEL, profile_label
from gaisnet.schema.base import Compute
from gaisnet.schema.files import resolve

__all__ = ["check_cluster"]

_CLOCK_S = 1.0
_LINK_FACTOR, _OVERHEAD_S = 1.5, 0.02
"""A link is as planned up to this factor, and what a call itself costs."""
_PROBE_BYTES, _PROBES = 2**20, 5


def check_cluster(files: PlanFiles, address: str) -> list[Finding]:
    """Reachability, profiles, processes, versions, memory, clocks, GPUs and links of a plan's
    devices.

    Raises:
        RunError: The cluster cannot be reached.
    """
    nodes, devices = joined(address), devices_of(files.plan)
    findings = [_reached(device, nodes, address) for device in devices]
    present = [device for device in devices if device in nodes]
    findings += [f for device in present for f in _profile(files, device, nodes[device])]
    if not present:
        return findings
    engine = RayEngine(present, address=address, leave_out=True)
    try:
        planned = planned_compute(files)
        for device in present:
            findings.append(_process(device, engine.not_started.get(device)))
            if device in engine.versions:
                findings += _versions(device, engine.versions[device])
            if device in engine.handles:
                findings += _figures(files, engine, device, planned[device])
        findings += _links(files, engine, set(engine.handles))
    finally:
        engine.close()
    return findings


def _figures(
    files: PlanFiles, engine: RayEngine, device: str, planned: Compute
) -> Iterator[Finding]:
    """Memory, clock and GPU, for which only a device with the same gaisnet can be asked."""
    found, offset_s = _facts_of(engine, device)
    yield from _memory(files, device, found)
    yield _clock(device, offset_s)
    yield compute_finding(device, planned, found.compute, found.gpu)


def _reached(device: str, nodes: Mapping[str, Mapping[str, str]], address: str) -> Finding:
    there = device in nodes
    return Finding(
        device=device,
        check="reachable",
        found="joined" if there else "not there",
        expected="joined",
        ok=there,
        advice="" if there else f"gaisnet join --address {address} --device {device} …",
    )


def _process(device: str, why_not: str | None) -> Finding:
    remedy = "wait until it is done, or end it" if why_not == TAKEN else "see to it there"
    return Finding(
        device=device,
        check="process",
        found=why_not or "started",
        expected="started",
        ok=why_not is None,
        advice="" if why_not is None else remedy,
    )


def _profile(files: PlanFiles, device: str, labels: Mapping[str, str]) -> Iterator[Finding]:
    planned = files.plan.inputs.device_profiles.get(device)
    if planned is None:
        return
    expected, found = profile_label(resolve(files.path, planned.path)), labels.get(PROFILE_LABEL)
    yield Finding(
        device=device,
        check="profile",
        found=(found or "none")[:12],
        expected=expected[:12],
        ok=found == expected,
        advice="" if found == expected else "plan again with the profile that the device has now",
    )


def _facts_of(engine: RayEngine, device: str) -> tuple[DeviceFacts, float]:
    """What a device says of itself, and how far its clock is ahead of ours, in seconds."""
    before = time.time()
    found = engine.facts(device)
    return found, found.time_s - (before + time.time()) / 2


def _versions(device: str, found: Mapping[str, str]) -> Iterator[Finding]:
    for name, here in sorted(VERSIONS.items()):
        there = found.get(name, UNKNOWN)
        yield Finding(
            device=device,
            check=name,
            found=there,
            expected=here,
            ok=there == here,
            advice="" if there == here else f"install {name} {here} there",
        )


def _memory(files: PlanFiles, device: str, found: DeviceFacts) -> Iterator[Finding]:
    for predicted in files.plan.predictions.devices:
        if predicted.device == device:
            needs, free = predicted.memory_bytes, found.available_bytes
            yield Finding(
                device=device,
                check="memory",
                found=f"{free / 2**20:.0f} MiB free",
                expected=f"{needs / 2**20:.0f} MiB",
                ok=free >= needs,
                advice="" if free >= needs else "free some, or plan with a smaller limit for it",
            )


def _clock(device: str, offset_s: float) -> Finding:
    good = abs(offset_s) <= _CLOCK_S
    return Finding(
        device=device,
        check="clock",
        found=f"{offset_s:+.3f} s",
        expected=f"within {_CLOCK_S:.0f} s",
        ok=good,
        advice="" if good else "let it keep network time (NTP)",
    )


def _links(files: PlanFiles, engine: RayEngine, present: set[str]) -> Iterator[Finding]:
    """A megabyte over every link that the plan sends over, against the fleet's figures."""
    cost = files.cost_model()
    pairs = sorted({(link.sender, link.receiver) for link in files.plan.predictions.links})
    for sender, receiver in pairs:
        if {sender, receiver} <= present:
            taken_s = statistics.median(
                engine.time_link(sender, receiver, _PROBE_BYTES, times=_PROBES)
            )
            planned_s = cost.transfer_s(sender, receiver, _PROBE_BYTES)
            good = taken_s <= _LINK_FACTOR * planned_s + _OVERHEAD_S
            yield Finding(
                device=sender,
                check=f"link to {receiver}",
                found=f"{taken_s * 1e3:.1f} ms a MiB",
                expected=f"{planned_s * 1e3:.1f} ms",
                ok=good,
                advice=""
                if good
                else "measure it with `gaisnet profile --link`, correct the fleet, plan again",
            )
