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
MEMORY_MIB = {"phone": 4, "pi": 1, "laptop": 7, "jetson": 7, "edge": 18, "cloud": 64}
"""The model is a thousandth of one that would fill such devices, so their memory is scaled down
with it: no device with data could tune the whole model, and no edge server could for all four
devices of its site at once."""

LINKS: tuple[dict[str, Any], ...] = (
    {"between": ["end", "edge"], "bandwidth_bits_per_s": 200e6, "latency_s": 0.002},
    {"between": ["end", "end"], "bandwidth_bits_per_s": 100e6, "latency_s": 0.003},
    {"between": ["edge", "edge"], "bandwidth_bits_per_s": 1e9, "latency_s": 0.005},
    {"between": ["edge", "cloud"], "bandwidth_bits_per_s": 1e9, "latency_s": 0.015},
    {"between": ["end", "cloud"], "bandwidth_bits_per_s": 50e6, "latency_s": 0.025},
)
"""Wi-Fi 6 at a site, fibre between sites and to the cloud."""


def fleet_document(labels: Mapping[str, NDArray[np.int64]]) -> dict[str, Any]:
    """The fleet as ``fleet.yaml`` has it.

    Args:
        labels: The labels of each end device's own samples.
    """
    ends = [_end_device(name, labels[name]) for name in END_DEVICES]
    edges = [_server(name, "edge", preset) for name, preset in EDGES.items()]
    clouds = [_server(name, "cloud", preset) for name, preset in CLOUD.items()]
    return {
        "schema_version": 1,
        "name": "two-sites",
        "devices": ends + edges + clouds,
        "links": [dict(link) for link in LINKS],
    }


def share_path(device: str) -> str:
    """Where a device's samples lie, relative to the fleet's file."""
    return f"shares/{device}.safetensors"


def _end_device(name: str, labels: NDArray[np.int64]) -> dict[str, Any]:
    kind, site = name.split("-")
    return {
        "id": name,
        "tier": "end",
        "preset": END_DEVICES[name],
        "memory_bytes": MEMORY_MIB[kind] * MEBIBYTE,
        "edge": f"edge-{site}",
        "data": {
            "path": share_path(name),
            "samples": len(labels),
            "label_histogram": np.bincount(labels, minlength=10).tolist(),
        },
    }


def _server(name: str, tier: str, preset: str) -> dict[str, Any]:
    memory_bytes = MEMORY_MIB[tier] * MEBIBYTE
    return {"id": name, "tier": tier, "preset": preset, "memory_bytes": memory_bytes}
