"""Devices and links with the figures of a calibration; what the run did not show stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gaisnet.planner.cost.devices import DeviceCost
from gaisnet.planner.cost.links import LinkFigures, LinkTable
from gaisnet.planner.ranks import scaled_times
from gaisnet.schema.run_calibration import Calibration, LinkFit

__all__ = ["calibrated_devices", "calibrated_links"]


def calibrated_devices(
    devices: Mapping[str, DeviceCost], calibration: Calibration
) -> dict[str, DeviceCost]:
    """Every device, its times multiplied by its factor."""
    factors = {fit.device: fit.factor for fit in calibration.devices}
    return {name: _slowed(each, factors.get(name)) for name, each in devices.items()}


def calibrated_links(links: LinkTable, calibration: Calibration) -> LinkTable:
    """The same links, those that were fitted with their new latency and bandwidth."""
    fits = [fit for fit in calibration.links if links.knows(fit.sender, fit.receiver)]
    return links.changed({(fit.sender, fit.receiver): _figures(links, fit) for fit in fits})


def _figures(links: LinkTable, fit: LinkFit) -> LinkFigures:
    return replace(
        links.way(fit.sender, fit.receiver),
        bandwidth_bytes_per_s=fit.bandwidth_bits_per_s / 8.0,
        latency_s=fit.latency_s,
    )


def _slowed(device: DeviceCost, factor: float | None) -> DeviceCost:
    """Speeds divided by the factor, overheads and timings multiplied."""
    if factor is None:
        return device
    timed = None if device.timed is None else scaled_times(device.timed, factor)
    return replace(device, speeds=device.speeds.slowed(factor), timed=timed)
