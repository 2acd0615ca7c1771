"""A whole job on disk: model, profile, fleet, data, job and a plan made by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from gaisnet.models import FoundationModel
from gaisnet.models.identity import model_fingerprint
from gaisnet.profiler import profile_model
from gaisnet.schema.files import canonical_json, sha256_file
from gaisnet.schema.fleet import DataShard as Data
from gaisnet.schema.fleet import Device, DeviceFigures, Fleet, Link
from gaisnet.schema.job import FineTuning, Job, Service, SgdSpec
from gaisnet.schema.model import LoraSpec, ModelSpec, TunableSpec
from gaisnet.schema.plan import ClusterPlan, InputFile, Plan, PlanInputs, Route
from gaisnet.schema.profile import Profile
from tests.executor.hfsl import CONFIGS, N_UNITS, make_model, make_plan

FAST = DeviceFigures(flops_per_s=1e9, memory_bytes=10**9)


def write_job(
    folder: Path,
    clusters: Sequence[ClusterPlan],
    *,
    model: str = "vit",
    tunable: TunableSpec | None = None,
    samples: int = 8,
    services: Sequence[Service] = (),
    routes: Sequence[Route] = (),
    evaluate: bool = True,
    cloud: str | None = None,
    **tuning: Any,
) -> Path:
    """Write everything into ``folder``; returns the plan's path."""
    tunable = LoraSpec(r=2, alpha=4) if tunable is None else tunable
    (folder / "model.json").write_text(json.dumps(CONFIGS[model]))
    built = make_model(model, tunable)
    fine_tuning = FineTuning(
        **({"rounds": 3, "local_steps": 2, "batch_size": 4, "optimizer": SgdSpec()} | tuning)
    )
    fleet = _fleet(folder, clusters, built, samples, cloud)
    job = Job(
        name="job",
        fleet="fleet.json",
        profile="profile.json",
        model=ModelSpec(source="model.json"),
        tunable=tunable,
        fine_tuning=fine_tuning,
        services=tuple(services),
        evaluation=_data(folder, built, "held-out", 12) if evaluate else None,
    )
    spec = ModelSpec(source=str(folder / "model.json"))
    part = profile_model(
        spec,
        tunable,
        optimizer=fine_tuning.optimizer.kind,
        batch_sizes=(1,),
        times=False,
        seed=0,
    )
    for name, content in (
        ("fleet", fleet),
        ("job", job),
        ("profile", Profile(model=part)),
    ):
        (folder / f"{name}.json").write_text(canonical_json(content))
    plan = hand_plan(folder, clusters, built, routes, cloud)
    (folder / "plan.json").write_text(canonical_json(plan))
    return folder / "plan.json"


def hand_plan(
    folder: Path,
    clusters: Sequence[ClusterPlan],
    model: FoundationModel,
    routes: Sequence[Route],
    cloud: str | None,
) -> Plan:
    """A plan over the files in ``folder``."""
    files = {
        name: InputFile(path=f"{name}.json", sha256=sha256_file(folder / f"{name}.json"))
        for name in ("job", "fleet", "profile")
    }
    changes = {
        "inputs": PlanInputs(**files),
        "model_fingerprint": model_fingerprint(model),
        "routes": tuple(routes),
        "n_units": N_UNITS,
    }
    return make_plan(clusters, cloud=cloud).model_copy(update=changes)


def _fleet(
    folder: Path,
    clusters: Sequence[ClusterPlan],
    model: FoundationModel,
    samples: int,
    cloud: str | None,
) -> Fleet:
    feeding = {s for c in clusters for owner in c.owners for s in owner.shards}
    owners = {owner.device for c in clusters for owner in c.owners}
    servers = {c.edge for c in clusters} | {s.device for c in clusters for s in c.body}
    devices = {
        name: Device(
            id=name,
            tier="end" if name in feeding | owners else "edge",
            figures=FAST,
            data=Data(path=_data(folder, model, name, samples), samples=samples)
            if name in feeding
            else None,
        )
        for name in sorted(feeding | owners | servers)
    }
    if cloud is not None:
        devices[cloud] = Device(id=cloud, tier="cloud", figures=FAST)
    return Fleet(devices=tuple(devices.values()), links=_links())


def _links() -> tuple[Link, ...]:
    pairs = [("end", "edge"), ("end", "end"), ("edge", "edge"), ("edge", "cloud"), ("end", "cloud")]
    return tuple(Link(between=pair, bandwidth_bits_per_s=1e8, latency_s=1e-3) for pair in pairs)


def _data(folder: Path, model: FoundationModel, name: str, samples: int) -> str:
    tensors = model.example_inputs(samples, seed=sum(map(ord, name)))
    save_file(tensors, folder / f"{name}.safetensors")
    return f"{name}.safetensors"


def lines(path: Path) -> list[Mapping[str, Any]]:
    """Of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
