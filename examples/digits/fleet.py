"""The demo's fleet: eight unequal devices at two sites, an edge server at each, and a cloud."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLOUD", "EDGES", "END_DEVICES", "SITES", "fleet_document", "share_path"]

SITES = ("north", "south")

END_DEVICES = {
    "phone-north": "phone-snapdragon-888",
    "pi-north": "raspberry-pi-4b-4gb",
    "laptop-north": "laptop-core-i5-1135g7",
    "jetson-north": "jetson-orin-nano-8gb",
    "phone-south": "phone-tensor-g2",
    "pi-south": "raspberry-pi-5-4gb",
    "laptop-south": "laptop-apple-m1",
    "jetson-south": "jetson-nano-4gb",
}
"""Devices with data of their own, by preset of the catalogue."""

EDGES = {"edge-north": "nuc-core-i7-1360p", "edge-south": "server-xeon-e-2388g"}
CLOUD = {"datacentre": "server-epyc-7763"}

MEBIBYTE = 2**20
MEMORY_MIB: dict[str, dict[str, float]] = {
    "scaled": {"phone": 2, "pi": 1, "laptop": 3.5, "jetson": 2.25, "edge": 4, "cloud": 64},
    "scaled-for-merging": {"phone": 4, "pi": 1, "laptop": 7, "jetson": 7, "edge": 18, "cloud": 64},
    "ample": {},
}
"""The model is a thousandth of one that would fill such devices, so their memory is scaled down
with it: with ``scaled`` no device but the cloud could tune the whole model. Stages that work on
the merged batches of four owners need more. ``ample`` is what the devices really have."""

LINKS: tuple[dict[str, Any], ...] = (
    {"between": ["end", "edge"], "bandwidth_bits_per_s": 200e6, "latency_s": 0.002},
    {"between": ["end", "end"], "bandwidth_bits_per_s": 100e6, "latency_s": 0.003},
    {"between": ["edge", "edge"], "bandwidth_bits_per_s": 1e9, "latency_s": 0.005},
    {"between": ["edge", "cloud"], "bandwidth_bits_per_s": 1e9, "latency_s": 0.015},
    {"between": ["end", "cloud"], "bandwidth_bits_per_s": 50e6, "latency_s": 0.025},
)
"""Wi-Fi 6 at a site, fibre between sites and to the cloud."""


def fleet_document(
    labels: Mapping[str, NDArray[np.int64]], memory: str = "scaled"
) -> dict[str, Any]:
    """The fleet as ``fleet.yaml`` has it.

    Args:
        labels: The labels of each end device's own samples.
        memory: Which of ``MEMORY_MIB``.
    """
    limits = MEMORY_MIB[memory]
    ends = [_end_device(name, labels[name]) for name in END_DEVICES]
    servers = [{"id": name, "tier": "edge", "preset": preset} for name, preset in EDGES.items()]
    servers += [{"id": name, "tier": "cloud", "preset": preset} for name, preset in CLOUD.items()]
    return {
        "schema_version": 1,
        "name": "two-sites",
        "devices": [_limited(device, limits) for device in ends + servers],
        "links": [dict(link) for link in LINKS],
    }


def share_path(device: str) -> str:
    """Where a device's samples lie, relative to the fleet's file."""
    return f"shares/{device}.safetensors"


def _end_device(name: str, labels: NDArray[np.int64]) -> dict[str, Any]:
    _, site = name.split("-")
    return {
        "id": name,
        "tier": "end",
        "preset": END_DEVICES[name],
        "edge": f"edge-{site}",
        "data": {
            "path": share_path(name),
            "samples": len(labels),
            "label_histogram": np.bincount(labels, minlength=10).tolist(),
        },
    }


def _limited(device: dict[str, Any], limits: Mapping[str, float]) -> dict[str, Any]:
    """The device with its kind's (or tier's) memory, if that is limited."""
    kind = device["id"].split("-")[0] if device["tier"] == "end" else device["tier"]
    if kind not in limits:
        return device
    first = {key: device[key] for key in ("id", "tier", "preset")}
    return {**first, "memory_bytes": int(limits[kind] * MEBIBYTE), **device}
