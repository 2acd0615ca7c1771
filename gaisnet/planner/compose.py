"""``plan``: from a job's files to a plan with its predictions and certificates."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gaisnet.planner.chains import residences
from gaisnet.planner.cost import CostModel, Residence
from gaisnet.planner.inputs import Inputs, read_inputs
from gaisnet.planner.predict import chain_of, round_links
from gaisnet.planner.roster import Roster
from gaisnet.planner.routing import Routing, route_services
from gaisnet.planner.schemes import Choice, choose_clusters
from gaisnet.schema.files import sha256_file
from gaisnet.schema.job import Job, Objective, Scheme
from gaisnet.schema.plan import (
    DevicePrediction,
    InputFile,
    Plan,
    PlanInputs,
    Predictions,
)

__all__ = ["plan", "plan_inputs"]

TOOLS = ("gaisnet", "highspy", "numpy", "pulp", "scikit-learn")


def plan(
    job_path: str | Path,
    *,
    output: str | Path | None = None,
    scheme: Scheme | None = None,
    objective: Objective | None = None,
    clusters: int | None = None,
    gap: float | None = None,
    seed: int | None = None,
) -> Plan:
    """Who holds what, who is clustered with whom, who serves whom, and the proof.

    The same files, arguments and tool versions give the same plan, byte for byte, unless the job
    sets ``search.time_limit_s``.

    Args:
        job_path: The job; it names the fleet and the profile.
        output: Where the plan will be written: paths in it are relative to that file's folder
            (by default the job's).
        scheme: Instead of the job's.
        objective: Instead of the job's.
        clusters: Instead of the job's ``clustering.clusters``.
        gap: Instead of the job's ``search.gap``: where the searches may stop.
        seed: Instead of the job's.

    Raises:
        InputError: A file is missing, malformed or inconsistent.
        MismatchError: The profile is not of the job's model, tunable modules or optimizer.
        InfeasibleError: No plan satisfies the constraints; says which binds and what mends it.
    """
    inputs = read_inputs(job_path)
    job = _overridden(inputs.job, scheme, objective, clusters, gap, seed)
    return plan_inputs(replace(inputs, job=job), Path(output or job_path).parent)


def plan_inputs(inputs: Inputs, folder: Path) -> Plan:
    """``plan`` from files already read; paths in it are relative to ``folder``."""
    job = inputs.job
    cost = CostModel.from_inputs(inputs)
    roster = Roster(job=job, fleet=inputs.fleet, cost=cost)
    choice = choose_clusters(roster)
    held = _held(roster, choice)
    routing = route_services(roster, choice.clusters, held)
    return Plan(
        name=job.name,
        scheme=job.scheme,
        topology=job.fine_tuning.topology,
        objective=job.objective,
        n_units=cost.n_units,
        model_fingerprint=inputs.model.fingerprint,
        inputs=_input_files(inputs, folder),
        clusters=choice.clusters,
        cloud=choice.cloud,
        routes=routing.routes,
        shares=routing.shares,
        certificates=(*choice.certificates, *routing.certificates),
        predictions=_predictions(roster, choice, held, routing),
        reproducible=job.search.time_limit_s is None,
        seed=job.seed,
        tool_versions={name: version(name) for name in TOOLS},
    )


def _overridden(
    job: Job,
    scheme: Scheme | None,
    objective: Objective | None,
    clusters: int | None,
    gap: float | None,
    seed: int | None,
) -> Job:
    changes: dict[str, Any] = {"scheme": scheme, "objective": objective, "seed": seed}
    if clusters is not None:
        changes["clustering"] = job.clustering.model_copy(update={"clusters": clusters})
    if gap is not None:
        changes["search"] = job.search.model_copy(update={"gap": gap})
    return job.model_copy(update={k: v for k, v in changes.items() if v is not None})


def _held(roster: Roster, choice: Choice) -> dict[str, list[Residence]]:
    """What every device holds for fine-tuning, over all clusters."""
    held: dict[str, list[Residence]] = {}
    for cluster in choice.clusters:
        chain = chain_of(cluster, roster.job.fine_tuning)
        for device, residence in residences(roster.cost, chain).items():
            held.setdefault(device, []).extend(residence)
    return dict(sorted(held.items()))


def _input_files(inputs: Inputs, folder: Path) -> PlanInputs:
    def entry(path: Path) -> InputFile:
        relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
        return InputFile(path=relative, sha256=sha256_file(path))

    return PlanInputs(
        job=entry(inputs.job_path),
        fleet=entry(inputs.fleet_path),
        profile=entry(inputs.profile_path),
        device_profiles={d: entry(p) for d, p in sorted(inputs.device_profile_paths.items())},
    )


def _predictions(
    roster: Roster, choice: Choice, held: dict[str, list[Residence]], routing: Routing
) -> Predictions:
    found, settings, samples = choice.round, roster.job.fine_tuning, roster.samples
    return Predictions(
        steps=found.steps,
        round_s=found.round_s,
        aggregation_s=found.aggregation_s,
        devices=tuple(
            _device(roster, choice, name, held.get(name, []), routing)
            for name in sorted({*held, *routing.entries})
        ),
        links=round_links(roster.cost, choice.clusters, choice.cloud, settings, samples),
        services=routing.services,
    )


def _device(
    roster: Roster, choice: Choice, name: str, held: list[Residence], routing: Routing
) -> DevicePrediction:
    cost, settings = roster.cost, roster.job.fine_tuning
    everything = [*held, *routing.entries.get(name, ())]
    need = cost.memory(everything, routing.cache_bytes.get(name, 0))
    whole = cost.stage_memory_bytes(
        0, cost.n_units - 1, settings.batch_size // settings.microbatches, settings.microbatches
    )
    limit = cost.devices[name].limit_bytes
    assert need.total_bytes <= limit, f"device {name} holds {need.total_bytes} of {limit} bytes"
    return DevicePrediction(
        device=name,
        weight_bytes=need.weight_bytes,
        training_bytes=need.training_bytes,
        cache_bytes=need.cache_bytes,
        memory_bytes=need.total_bytes,
        limit_bytes=limit,
        whole_model_bytes=whole.total_bytes,
        busy_s_per_round=choice.round.busy_s.get(name, 0.0),
        energy_j_per_round=choice.round.energy_j.get(name, 0.0),
    )
