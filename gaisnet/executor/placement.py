"""What each device of a plan computes on: the processor or a GPU.

Nothing is chosen by what happens to be there, since processors and GPUs round differently: a device
computes on what its profile was measured on, as the plan's times have it, unless whoever runs the
plan, or the device's own node, says otherwise. Where there is no GPU then, the run is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from gaisnet.executor.build import devices_of
from gaisnet.executor.compute import own_compute
from gaisnet.executor.finding import Finding
from gaisnet.executor.planfiles import PlanFiles
from gaisnet.models.accelerator import gpu_name
from gaisnet.schema.base import Compute, ComputeWish

__all__ = ["check_compute", "compute_finding", "planned_compute"]


def planned_compute(
    files: PlanFiles, wish: ComputeWish = "auto", before: Mapping[str, Compute] | None = None
) -> dict[str, Compute]:
    """What every device of the fleet is to compute on, by id.

    Args:
        files: The plan; a device's own profile says what it was measured on. One that was not
            measured (a preset, figures, an extrapolated profile) is played on the CPU.
        wish: Of whoever runs the plan; ``auto``: every device on what its profile was measured on.
        before: What devices computed on so far in this run: that stays.
    """
    fleet = [device.id for device in files.fleet.devices]
    by_wish = {d: _measured_on(files, d) if wish == "auto" else wish for d in fleet}
    return by_wish | {d: on for d, on in (before or {}).items() if d in by_wish}


def check_compute(files: PlanFiles) -> list[Finding]:
    """What each device of a plan would compute on, if this machine were to play them all.

    Raises:
        UsageError: As ``own_compute``.
    """
    planned, own, gpu = planned_compute(files), own_compute(), gpu_name()
    return [compute_finding(device, planned[device], own, gpu) for device in devices_of(files.plan)]


def compute_finding(device: str, planned: Compute, own: Compute | None, gpu: str | None) -> Finding:
    """Whether a device can compute on what it is to, and as it was planned.

    Args:
        device: Its id.
        planned: On what, by the plan.
        own: What its node was told, if it was.
        gpu: The GPU that torch finds there, if there is one.
    """
    on = own or planned
    there = on == "cpu" or gpu is not None
    advice = "" if on == planned else "plan again with a profile of what it computes on"
    return Finding(
        device=device,
        check="compute",
        found=on if on == "cpu" else f"cuda: {gpu or 'torch finds no GPU'}",
        expected=planned,
        ok=there and on == planned,
        advice=advice if there else "install a torch that is built for its GPU, or --compute cpu",
    )


def _measured_on(files: PlanFiles, device: str) -> Compute:
    profile = files.device_profiles.get(device)
    part = None if profile is None else profile.device
    return part.kind if part is not None and part.origin == "measured" else "cpu"
