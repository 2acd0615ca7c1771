"""A small fleet, model and job on disk, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before transformers reads it

import torch
import yaml
from safetensors.torch import save_file
from transformers import ViTConfig, ViTForImageClassification

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "120",
    "GAISNET_DEBUG": "",
}
OWNERS = ("phone", "board")


@dataclass(frozen=True)
class Answer:
    """What a command left: its exit code and what it said."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "gaisnet.cli", *map(str, arguments)]


def gaisnet(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Answer:
    """Runs ``gaisnet`` as a user would, and checks what holds for every command."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        cwd=cwd,
        env=ENVIRONMENT | environment,
        timeout=200,
        check=False,
    )
    assert "Traceback" not in done.stderr + done.stdout, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def write_bench(folder: Path) -> None:
    """Model, data, fleet and job; the profile is made by the command itself."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=8,
        patch_size=4,
        num_channels=1,
        num_labels=3,
    )
    ViTForImageClassification(config).save_pretrained(folder / "vit")
    for index, name in enumerate((*OWNERS, "test")):
        _write_data(folder / f"{name}.safetensors", seed=index, samples=24)
    write_yaml(folder / "fleet.yaml", fleet())
    write_yaml(folder / "job.yaml", job())


def _write_data(path: Path, seed: int, samples: int) -> None:
    labels = torch.arange(samples) % 3
    noise = torch.randn(samples, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    images = 0.1 * noise + labels.view(-1, 1, 1, 1).float()
    save_file({"pixel_values": images, "labels": labels}, path)


def write_yaml(path: Path, document: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def fleet(memory_bytes: int = 2**24) -> dict[str, Any]:
    figures = {"flops_per_s": 1e9, "memory_bytes": memory_bytes, "power_w": 5.0}
    owners = [
        {
            "id": name,
            "tier": "end",
            "figures": figures,
            "data": {
                "path": f"{name}.safetensors",
                "samples": 24,
                "label_histogram": [8, 8, 8],
            },
        }
        for name in OWNERS
    ]
    server = {"id": "edge-0", "tier": "edge", "figures": figures | {"flops_per_s": 2e10}}
    return {
        "devices": [*owners, server],
        "links": [
            {"between": ["end", "edge"], "bandwidth_bits_per_s": 1e8, "latency_s": 0.001},
            {"between": ["end", "end"], "bandwidth_bits_per_s": 5e7, "latency_s": 0.002},
        ],
    }


def job(rounds: int = 2) -> dict[str, Any]:
    return {
        "name": "small",
        "fleet": "fleet.yaml",
        "profile": "profile.json",
        "model": {"source": "vit"},
        "tunable": {"kind": "lora", "r": 2, "targets": ["q_proj", "v_proj"]},
        "fine_tuning": {"rounds": rounds, "local_steps": 2, "batch_size": 8},
        "services": [{"id": "ask", "rate_per_s": 1.0, "data": "test.safetensors"}],
        "evaluation": "test.safetensors",
    }
