"""What each device of a fleet can do, whichever way the fleet says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gaisnet.errors import InputError
from gaisnet.schema.catalogue import preset
from gaisnet.schema.fleet import Device, Fleet
from gaisnet.schema.job import Constraints
from gaisnet.schema.profile import DevicePart, ModelPart, Profile

__all__ = ["DeviceCost", "resolve_devices"]


@dataclass(frozen=True, kw_only=True)
class DeviceCost:
    """Speed, memory and energy of one device, for one model's dtype."""

    id: str
    flops_per_s: float
    memory_bandwidth_bytes_per_s: float | None
    limit_bytes: int
    """Memory for stages: the device's, less the job's slack and what the runtime itself takes.
    Without any left a device can still coordinate."""
    op_overhead_s: float
    """Fixed time per operator call."""
    unit_overhead_s: float
    """Fixed time per unit and pass."""
    joules_per_flop: float
    power_w: float | None
    """If given, energy is power × busy time, and ``joules_per_flop`` is not used."""
    measured: ModelPart | None
    """The same model as timed on this very device."""


def resolve_devices(
    fleet: Fleet, model: ModelPart, profiles: Mapping[str, Profile], limits: Constraints
) -> dict[str, DeviceCost]:
    """Every device's figures, by id.

    Args:
        fleet: The devices.
        model: The model that is to be placed: its dtype picks the speed, and a device's own
            timings count if they are of the same model.
        profiles: Profile of each device that names one, by device id.
        limits: ``memory_slack`` and ``reserved_bytes``.

    Raises:
        InputError: A device's preset is unknown, or its profile is missing or has no device part.
    """
    return {d.id: _resolve(d, model, profiles, limits) for d in fleet.devices}


def _resolve(
    device: Device, model: ModelPart, profiles: Mapping[str, Profile], limits: Constraints
) -> DeviceCost:
    if device.figures is not None:
        figures = device.figures
        return DeviceCost(
            id=device.id,
            flops_per_s=figures.flops_per_s,
            memory_bandwidth_bytes_per_s=figures.memory_bandwidth_bytes_per_s,
            limit_bytes=_limit(device, figures.memory_bytes, limits),
            op_overhead_s=0.0,
            unit_overhead_s=figures.unit_overhead_s,
            joules_per_flop=figures.joules_per_flop,
            power_w=figures.power_w,
            measured=None,
        )
    part, measured = _device_part(device, model, profiles)
    return DeviceCost(
        id=device.id,
        flops_per_s=_sustained(part, model.model.dtype),
        memory_bandwidth_bytes_per_s=part.memory_bandwidth_bytes_per_s,
        limit_bytes=_limit(device, max(0, part.memory_bytes - part.runtime_bytes), limits),
        op_overhead_s=part.op_overhead_s,
        unit_overhead_s=0.0,
        joules_per_flop=0.0,
        power_w=part.power.busy_w,
        measured=measured,
    )


def _device_part(
    device: Device, model: ModelPart, profiles: Mapping[str, Profile]
) -> tuple[DevicePart, ModelPart | None]:
    if device.preset is not None:
        return preset(device.preset), None
    profile = profiles.get(device.id)
    if profile is None or profile.device is None:
        raise InputError(
            f"device {device.id}: profile {device.profile!r} has no device part",
            hint="make it on that device with `gaisnet profile`",
        )
    measured = profile.model
    return profile.device, measured if _same_work(measured, model) else None


def _same_work(measured: ModelPart | None, model: ModelPart) -> bool:
    """Whether timings of ``measured`` are timings of ``model``, every unit timed."""
    return (
        measured is not None
        and (measured.fingerprint, measured.tunable, measured.tokens)
        == (model.fingerprint, model.tunable, model.tokens)
        and all(unit.timings for unit in measured.units)
    )


def _sustained(part: DevicePart, dtype: str) -> float:
    """Sustained speed in ``dtype``, or in float32 (or the slowest known) if that is unknown."""
    speeds = part.sustained_flops_per_s or part.peak_flops_per_s
    if not speeds:
        raise InputError(f"device {part.name} has neither sustained nor peak FLOP/s")
    return speeds.get(dtype, speeds.get("float32", min(speeds.values())))


def _limit(device: Device, usable_bytes: int, limits: Constraints) -> int:
    if device.memory_bytes is not None:
        usable_bytes = min(usable_bytes, device.memory_bytes)
    return max(0, int(usable_bytes * (1.0 - limits.memory_slack)) - limits.reserved_bytes)
