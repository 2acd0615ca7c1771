"""Small synthetic profiles, fleets and jobs: no model, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gaisnet.planner.cost import CostModel
from gaisnet.schema.files import canonical_json
from gaisnet.schema.fleet import DataShard, Device, DeviceFigures, Fleet, Link
from gaisnet.schema.job import Job
from gaisnet.schema.model import LoraSpec, ModelSpec
from gaisnet.schema.profile import FlopWitnesses, ModelPart, Profile, UnitPart

__all__ = [
    "MODEL",
    "make_cost",
    "make_device",
    "make_fleet",
    "make_job",
    "make_model",
    "make_unit",
    "write_files",
]

MODEL = ModelSpec(source="tiny.json", task="image_classification", num_labels=10)
TOKENS, WIDTH = 4, 8


def make_unit(index: int, n_units: int, **changes: Any) -> UnitPart:
    """A block of 1 MFLOP forward, 1.2 MFLOP backward, 1000 bytes of weights of which 100 are
    tuned; prologue and epilogue cost a tenth of that."""
    kind = "prologue" if index == 0 else "epilogue" if index == n_units - 1 else "block"
    scale = 10 if kind == "block" else 1
    figures: dict[str, Any] = {
        "name": f"unit-{index}",
        "kind": kind,
        "parameters": 25 * scale,
        "tunable_parameters": 25 if kind != "prologue" else 0,
        "forward_flops": 100_000 * scale,
        "attention_flops": 10_000 * scale if kind == "block" else 0,
        "backward_flops": 0 if kind == "prologue" else 120_000 * scale,
        "witnesses": FlopWitnesses(),
        "weight_bytes": 100 * scale,
        "gradient_bytes": 0 if kind == "prologue" else 100,
        "optimizer_bytes": 0 if kind == "prologue" else 200,
        "saved_activation_bytes": 20 * scale,
        "output_bytes": TOKENS * WIDTH * 4,
        "gradient_output_bytes": 0 if kind == "prologue" else TOKENS * WIDTH * 4,
        "kv_bytes_per_token": 64 if kind == "block" else 0,
        "operators": 0,
    }
    return UnitPart(**(figures | changes))


def make_model(n_units: int = 6, **changes: Any) -> ModelPart:
    """A model of prologue, blocks and epilogue."""
    figures: dict[str, Any] = {
        "model": MODEL,
        "tunable": LoraSpec(),
        "architecture": "Tiny",
        "fingerprint": "0" * 64,
        "optimizer": "adamw",
        "tokens": TOKENS,
        "input_bytes": 256,
        "side_input_bytes": 0,
        "label_bytes": 8,
        "units": tuple(make_unit(index, n_units) for index in range(n_units)),
    }
    return ModelPart(**(figures | changes))


def make_device(
    name: str,
    tier: str = "end",
    *,
    flops_per_s: float = 1e9,
    memory_bytes: int = 10_000,
    samples: int = 0,
    **changes: Any,
) -> Device:
    """A device with given figures; it owns data if it has samples."""
    labels = changes.pop("labels", None)
    domain = changes.pop("domain", "general")
    figures = DeviceFigures(
        flops_per_s=flops_per_s,
        memory_bytes=memory_bytes,
        joules_per_flop=changes.pop("joules_per_flop", 1e-9),
    )
    data = None
    if samples:
        data = DataShard(samples=samples, domain=domain, label_histogram=labels)
    return Device(id=name, tier=tier, figures=figures, data=data, **changes)  # type: ignore[arg-type]


LINKS = (
    Link(between=("end", "end"), bandwidth_bits_per_s=8e6, latency_s=0.001),
    Link(between=("end", "edge"), bandwidth_bits_per_s=8e6, latency_s=0.002),
    Link(between=("edge", "cloud"), bandwidth_bits_per_s=8e8, latency_s=0.01),
    Link(between=("end", "cloud"), bandwidth_bits_per_s=8e6, latency_s=0.02),
    Link(between=("edge", "edge"), bandwidth_bits_per_s=8e8, latency_s=0.01),
)


def make_fleet(
    owners: int = 4,
    *,
    edge_bytes: int = 100_000,
    memory_bytes: Sequence[int] = (5_000, 8_000, 3_000, 9_000),
    speeds: Sequence[float] = (1e9, 2e9, 5e8, 1.5e9),
) -> Fleet:
    """Unequal owners with skewed labels below one edge server."""
    devices = [
        make_device(
            f"d{i}",
            flops_per_s=speeds[i % len(speeds)],
            memory_bytes=memory_bytes[i % len(memory_bytes)],
            samples=40,
            labels=(30, 10) if i % 2 else (10, 30),
        )
        for i in range(owners)
    ]
    edge = make_device("edge0", "edge", flops_per_s=1e10, memory_bytes=edge_bytes)
    return Fleet(devices=(*devices, edge), links=LINKS)


def make_job(**changes: Any) -> Job:
    """A job for ``make_model`` on ``make_fleet``; fields are as in job.yaml."""
    fields: dict[str, Any] = {
        "fleet": "fleet.json",
        "profile": "profile.json",
        "model": MODEL.model_dump(mode="json"),
        "fine_tuning": {"batch_size": 8, "local_steps": 2},
    }
    import json

    return Job.model_validate_json(json.dumps(fields | changes))


def make_cost(job: Job, fleet: Fleet, model: ModelPart) -> CostModel:
    """The cost model without files."""
    return CostModel.from_parts(job, fleet, model, {})


def write_files(folder: Path, job: Job, fleet: Fleet, model: ModelPart) -> Path:
    """The three files of a plan; returns the job's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fleet.json").write_text(canonical_json(fleet))
    (folder / "profile.json").write_text(canonical_json(Profile(model=model)))
    (folder / "job.json").write_text(canonical_json(job))
    return folder / "job.json"
