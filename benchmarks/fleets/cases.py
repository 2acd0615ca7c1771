"""What is planned and run: model, devices, links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.extrapolation import SLOWED

__all__ = ["CASES", "Case", "Machine"]

_MEBIBYTE = 2**20


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A device."""

    tier: str
    memory_mib: float
    """That the fleet grants."""
    samples: int = 0
    """Of its own data."""
    slowed: bool = False
    """Whether it works without wide vector instructions."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A job on a fleet; the first machine is the edge."""

    name: str
    title: str
    width: int
    blocks: int
    machines: Mapping[str, Machine]
    bits_per_s: float | Mapping[tuple[str, str], float]
    """Of the links between all, or any two, of them, each way."""
    delay_s: float
    """From any machine to any other."""
    rounds: int = 4
    local_steps: int = 2
    batch_size: int = 8
    microbatches: int = 1

    @property
    def model(self) -> dict[str, Any]:
        """``config.json`` of a ViT of 197 tokens."""
        return {
            "model_type": "vit",
            "hidden_size": self.width,
            "num_hidden_layers": self.blocks,
            "num_attention_heads": self.width // 64,
            "intermediate_size": 4 * self.width,
            "image_size": 224,
            "patch_size": 16,
            "num_labels": 10,
        }

    @property
    def job(self) -> dict[str, Any]:
        """``job.yaml``."""
        return {
            "name": self.name,
            "fleet": "fleet.yaml",
            "profile": "server.json",
            "model": {"source": "model.json"},
            "tunable": {"kind": "lora"},
            "clustering": {"clusters": 1},
            "fine_tuning": {
                "rounds": self.rounds,
                "local_steps": self.local_steps,
                "batch_size": self.batch_size,
                "microbatches": self.microbatches,
            },
        }

    def settings(self, name: str) -> dict[str, str]:
        """Environment variables of a machine."""
        return dict(SLOWED) if self.machines[name].slowed else {}

    def device(self, name: str) -> dict[str, Any]:
        """A device of ``fleet.yaml``."""
        machine = self.machines[name]
        found: dict[str, Any] = {
            "id": name,
            "tier": machine.tier,
            "profile": f"{name}.json",
            "memory_bytes": round(machine.memory_mib * _MEBIBYTE),
        }
        if machine.samples:
            found["data"] = {"path": f"{name}.safetensors", "samples": machine.samples}
            found["privacy"] = "owner"
        return found


def _machines(server: float, helper: float, owner: float) -> dict[str, Machine]:
    """A server, a helper that is slow, two owners; by the memory of each, MiB."""
    return {
        "server": Machine(tier="edge", memory_mib=server),
        "helper": Machine(tier="end", memory_mib=helper, slowed=True),
        "owner-a": Machine(tier="end", memory_mib=owner, samples=32),
        "owner-b": Machine(tier="end", memory_mib=owner, samples=32),
    }


CASES = {
    case.name: case
    for case in (
        Case(
            name="links",
            title="ViT of 6 blocks of width 192, links of 20 to 50 Mbit/s and 10 ms",
            width=192,
            blocks=6,
            machines=_machines(server=60, helper=60, owner=40),
            bits_per_s={
                ("server", "helper"): 30e6,
                ("server", "owner-a"): 50e6,
                ("server", "owner-b"): 25e6,
                ("helper", "owner-a"): 30e6,
                ("helper", "owner-b"): 20e6,
                ("owner-a", "owner-b"): 20e6,
            },
            delay_s=0.010,
        ),
        Case(
            name="compute",
            title="ViT of 12 blocks of width 384, links of 400 Mbit/s and 2 ms",
            width=384,
            blocks=12,
            machines=_machines(server=260, helper=160, owner=120),
            bits_per_s=400e6,
            delay_s=0.002,
        ),
    )
}
"""By name: rounds in which links take most of the time, and such in which devices do."""
