"""What each device of a fleet can do, whichever way the fleet says it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gaisnet.errors import InputError
from gaisnet.extrapolation import Speeds, extrapolate, speeds_of
from gaisnet.schema.catalogue import preset
from gaisnet.schema.fleet import Device, DeviceFigures, Fleet
from gaisnet.schema.job import Constraints
from gaisnet.schema.profile import DevicePart, ModelPart, Profile

__all__ = ["DeviceCost", "resolve_devices"]


@dataclass(frozen=True, kw_only=True)
class DeviceCost:
    """Speed, memory and energy of one device, for one model's dtype."""

    id: str
    speeds: Speeds
    limit_bytes: int
    """Memory for stages: the device's, less the job's slack and what the runtime itself takes.
    Without any left a device can still coordinate."""
    joules_per_flop: float
    power_w: float | None
    """If given, energy is power × busy time, and ``joules_per_flop`` is not used."""
    timed: ModelPart | None
    """The same model with this device's times: measured there, or carried over to it."""

    @property
    def flops_per_s(self) -> float:
        """Sustained, in the model's dtype."""
        return self.speeds.flops_per_s


def resolve_devices(
    fleet: Fleet,
    model: ModelPart,
    profiles: Mapping[str, Profile],
    limits: Constraints,
    model_device: DevicePart | None = None,
) -> dict[str, DeviceCost]:
    """Every device's figures, by id.

    A preset, and a device whose profile is not of this model, get the times that
    ``gaisnet profile --as`` would give them.

    Args:
        fleet: The devices.
        model: The model that is to be placed: its dtype picks the speed, and a device's own
            timings count if they are of the same model.
        profiles: Profile of each device that names one, by device id.
        limits: ``memory_slack`` and ``reserved_bytes``.
        model_device: The device that ``model`` was timed on, if it was.

    Raises:
        InputError: A device's preset is unknown, or its profile is missing or has no device part.
    """
    carried: dict[str, ModelPart] = {}

    def carry_over(part: DevicePart) -> ModelPart:
        key = part.model_dump_json()
        if key not in carried:
            carried[key] = extrapolate(model, part, model_device)
        return carried[key]

    def resolve(device: Device) -> DeviceCost:
        if device.figures is not None:
            return _from_figures(device, device.figures, limits)
        part, timed = _device_part(device, model, profiles)
        return _from_part(device, part, timed or carry_over(part), limits)

    return {device.id: resolve(device) for device in fleet.devices}


def _from_figures(device: Device, figures: DeviceFigures, limits: Constraints) -> DeviceCost:
    """Figures given by hand hold for all products; the rest costs memory traffic, if known."""
    memory = figures.memory_bandwidth_bytes_per_s or math.inf
    speeds = Speeds(
        flops_per_s=figures.flops_per_s,
        attention_forward_flops_per_s=figures.flops_per_s,
        attention_backward_flops_per_s=figures.flops_per_s,
        memory_bytes_per_s=memory,
        traffic_bytes_per_s={"move": memory},
        unit_s=figures.unit_overhead_s,
    )
    return DeviceCost(
        id=device.id,
        speeds=speeds,
        limit_bytes=_limit(device, figures.memory_bytes, limits),
        joules_per_flop=figures.joules_per_flop,
        power_w=figures.power_w,
        timed=None,
    )


def _from_part(
    device: Device, part: DevicePart, timed: ModelPart, limits: Constraints
) -> DeviceCost:
    return DeviceCost(
        id=device.id,
        speeds=speeds_of(part, timed.model.dtype),
        limit_bytes=_limit(device, max(0, part.memory_bytes - part.runtime_bytes), limits),
        joules_per_flop=0.0,
        power_w=part.power.busy_w,
        timed=timed,
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


def _limit(device: Device, usable_bytes: int, limits: Constraints) -> int:
    if device.memory_bytes is not None:
        usable_bytes = min(usable_bytes, device.memory_bytes)
    return max(0, int(usable_bytes * (1.0 - limits.memory_slack)) - limits.reserved_bytes)
