"""A job that is small but whole: a tiny vision transformer, two clusters, a service, on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import save_file

from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.models.identity import model_fingerprint
from gaisnet.profiler import profile_model
from gaisnet.schema.files import canonical_json, sha256_file
from gaisnet.schema.fleet import DataShard, Device, DeviceFigures, Fleet, Link
from gaisnet.schema.job import AdamWSpec, FineTuning, Job, Service
from gaisnet.schema.model import LoraSpec, ModelSpec
from gaisnet.schema.plan import (
    Certificate,
    ClusterPlan,
    InputFile,
    Owner,
    Plan,
    PlanInputs,
    Predictions,
    Route,
    Stage,
)
from gaisnet.schema.profile import Profile

__all__ = ["DEVICES", "write_small_job"]

DEVICES = ("edge-0", "edge-1", "owner-a", "owner-b", "owner-c")
"""Devices of the small job."""

_MODEL = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
    "num_labels": 3,
    "initializer_range": 0.3,
}
_SAMPLES = 8
_TUNABLE = LoraSpec(r=2, alpha=4)


def write_small_job(
    folder: Path,
    *,
    topology: str = "u_shape",
    rounds: int = 2,
    microbatches: int = 1,
    helped: bool = False,
    clusters: int = 2,
    model: Mapping[str, Any] | None = None,
) -> Path:
    """Write model, profile, fleet, data, job and plan into ``folder``.

    Args:
        folder: It must exist.
        topology: ``u_shape`` (owners hold head and tail) or ``vanilla`` (the body ends the model).
        rounds: Of fine-tuning.
        microbatches: Of each batch.
        helped: One cluster instead of two: ``owner-a`` and ``owner-b`` below ``edge-0``, with
            ``owner-c`` as a stage holder that has no part in it otherwise, and ``edge-1`` idle.
        clusters: 2, or 1: then ``edge-0``, ``owner-a`` and ``owner-b`` do all the work.
        model: Configuration of another vision transformer, of three blocks or more.

    Returns:
        The plan's path.
    """
    (folder / "model.json").write_text(json.dumps(model or _MODEL))
    spec = ModelSpec(source=str(folder / "model.json"))
    built = attach(load_model(spec), _TUNABLE, seed=spec.seed)
    owners = [device for device in DEVICES if device.startswith("owner")]
    for number, name in enumerate([*owners, "held-out"]):
        tensors = built.example_inputs(_SAMPLES, seed=number)
        save_file(tensors, folder / f"{name}.safetensors")
    part = profile_model(spec, _TUNABLE, optimizer="adamw", batch_sizes=(1,), times=False, seed=0)
    for name, content in (
        ("profile", Profile(model=part)),
        ("fleet", _fleet()),
        ("job", _job(rounds)),
    ):
        (folder / f"{name}.json").write_text(canonical_json(content))
    planned = _clusters(built.n_units, topology == "u_shape", microbatches, helped)[:clusters]
    plan = _plan(folder, built, planned, topology)
    (folder / "plan.json").write_text(canonical_json(plan))
    return folder / "plan.json"


def _fleet() -> Fleet:
    figures = DeviceFigures(flops_per_s=1e9, memory_bytes=10**9)
    devices = []
    for name in DEVICES:
        owns = name.startswith("owner")
        data = DataShard(path=f"{name}.safetensors", samples=_SAMPLES) if owns else None
        tier: Literal["end", "edge"] = "end" if owns else "edge"
        devices.append(Device(id=name, tier=tier, figures=figures, data=data))
    pairs = [("end", "edge"), ("end", "end"), ("edge", "edge")]
    links = [Link(between=pair, bandwidth_bits_per_s=1e8, latency_s=1e-3) for pair in pairs]
    return Fleet(devices=tuple(devices), links=tuple(links))


def _job(rounds: int) -> Job:
    return Job(
        name="small",
        fleet="fleet.json",
        profile="profile.json",
        model=ModelSpec(source="model.json"),
        tunable=_TUNABLE,
        fine_tuning=FineTuning(
            rounds=rounds,
            local_steps=2,
            batch_size=4,
            optimizer=AdamWSpec(learning_rate=0.01),
            clip_norm=1.0,
        ),
        services=(Service(id="ask", rate_per_s=1.0, data="held-out.safetensors"),),
        evaluation="held-out.safetensors",
    )


def _clusters(
    n_units: int, u_shape: bool, microbatches: int, helped: bool
) -> tuple[ClusterPlan, ...]:
    tail = n_units - 1 if u_shape else n_units
    relays = [("edge-0", "owner-b", ("owner-a", "owner-b")), ("edge-1", "owner-c", ("owner-c",))]
    if helped:
        relays = [("edge-0", "owner-c", ("owner-a", "owner-b"))]
    return tuple(
        ClusterPlan(
            id=f"c{number}",
            edge=edge,
            domain="general",
            owners=tuple(Owner(device=o, shards=(o,), samples=_SAMPLES) for o in owners),
            head_units=1,
            tail_first_unit=tail,
            body=tuple(
                Stage(device=device, first_unit=first, last_unit=last)
                for device, first, last in ((relay, 1, 1), (edge, 2, tail - 1))
            ),
            intra="sequential",
            microbatches=microbatches,
        )
        for number, (edge, relay, owners) in enumerate(relays)
    )


def _plan(
    folder: Path, model: FoundationModel, clusters: tuple[ClusterPlan, ...], topology: str
) -> Plan:
    job, fleet, profile = (
        InputFile(path=f"{name}.json", sha256=sha256_file(folder / f"{name}.json"))
        for name in ("job", "fleet", "profile")
    )
    given = Certificate(
        decision="all",
        objective="none",
        solver="hand",
        status="given",
        value=0.0,
        bound=0.0,
        gap=0.0,
    )
    return Plan(
        name="small",
        scheme="hfsl",
        topology="u_shape" if topology == "u_shape" else "vanilla",
        objective="makespan",
        n_units=model.n_units,
        model_fingerprint=model_fingerprint(model),
        inputs=PlanInputs(job=job, fleet=fleet, profile=profile),
        clusters=clusters,
        routes=(Route(service="ask", cluster="c0", entry="owner-a"),),
        certificates=(given,),
        predictions=Predictions(steps=(), round_s=0.0, aggregation_s=0.0, devices=(), links=()),
    )
