"""A plan from its clusters: services are routed, figures predicted, inputs named."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from gaisnet.planner.chains import residences
from gaisnet.planner.cost import CostModel, Residence
from gaisnet.planner.inputs import Inputs
from gaisnet.planner.predict import chain_of, predict_round, round_links
from gaisnet.planner.roster import Roster
from gaisnet.planner.routing import FINE_TUNING, Routing, route_services
from gaisnet.planner.schemes import Choice
from gaisnet.planner.sharing import share_services
from gaisnet.schema.files import sha256_file
from gaisnet.schema.plan import (
    DevicePrediction,
    InputFile,
    Plan,
    PlanInputs,
    Predictions,
    Slack,
)

__all__ = ["TOOLS", "assemble", "input_files", "make_roster"]

TOOLS = ("gaisnet", "highspy", "numpy", "pulp", "scikit-learn")


def make_roster(inputs: Inputs) -> Roster:
    """The fleet as the job sees it, at the speeds that the job's slack leaves."""
    cost = CostModel.from_inputs(inputs)
    slowed = cost.at_share(cost.share * (1.0 - inputs.job.constraints.time_slack))
    return Roster(job=inputs.job, fleet=inputs.fleet, cost=slowed)


def assemble(inputs: Inputs, folder: Path, roster: Roster, choice: Choice) -> Plan:
    """The plan of these clusters; paths in it are relative to ``folder``.

    Raises:
        InfeasibleError: A service cannot be answered.
    """
    job, limits = roster.job, roster.job.constraints
    held = _held(roster, choice)
    routing = _answer(roster, choice, held)
    roster, choice = _in_its_share(roster, choice, routing)
    return Plan(
        name=job.name,
        scheme=job.scheme,
        topology=job.fine_tuning.topology,
        objective=job.objective,
        n_units=roster.cost.n_units,
        model_fingerprint=inputs.model.fingerprint,
        inputs=input_files(inputs, folder),
        clusters=choice.clusters,
        cloud=choice.cloud,
        routes=routing.routes,
        shares=routing.shares,
        prices=routing.prices,
        certificates=(*choice.certificates, *routing.certificates),
        predictions=_predictions(roster, choice, held, routing),
        slack=Slack(memory=limits.memory_slack, time=limits.time_slack),
        reproducible=job.search.time_limit_s is None,
        seed=job.seed,
        tool_versions={name: version(name) for name in TOOLS},
    )


def _held(roster: Roster, choice: Choice) -> dict[str, list[Residence]]:
    """What every device holds for fine-tuning, over all clusters."""
    held: dict[str, list[Residence]] = {}
    for cluster in choice.clusters:
        chain = chain_of(cluster, roster.job.fine_tuning)
        for device, residence in residences(roster.cost, chain).items():
            held.setdefault(device, []).extend(residence)
    return dict(sorted(held.items()))


def _answer(roster: Roster, choice: Choice, held: dict[str, list[Residence]]) -> Routing:
    """Who answers the job's services, in a given share or in the best shares."""
    share = roster.job.inference_share
    if not roster.job.services:
        return Routing(entries={}, cache_bytes={})
    if share is None:
        return share_services(roster, choice.clusters, choice.cloud, held)
    kept = 1.0 - roster.job.constraints.time_slack
    return route_services(roster, choice.clusters, held, share * kept)


def _in_its_share(roster: Roster, choice: Choice, routing: Routing) -> tuple[Roster, Choice]:
    """The round as long as fine-tuning's own shares make it; given ones are in the cost model."""
    if roster.job.inference_share is not None or not routing.shares:
        return roster, choice
    cost = roster.cost.at_plan_shares(FINE_TUNING, routing.shares)
    found = predict_round(cost, choice.clusters, choice.cloud, roster.job.fine_tuning)
    return replace(roster, cost=cost), replace(choice, round=found)


def input_files(inputs: Inputs, folder: Path) -> PlanInputs:
    """Paths relative to ``folder``, and hashes, of all that a plan is made from."""

    def entry(path: Path) -> InputFile:
        relative = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
        return InputFile(path=relative, sha256=sha256_file(path))

    fitted = inputs.calibration_path
    return PlanInputs(
        job=entry(inputs.job_path),
        fleet=entry(inputs.fleet_path),
        profile=entry(inputs.profile_path),
        device_profiles={d: entry(p) for d, p in sorted(inputs.device_profile_paths.items())},
        calibration=None if fitted is None else entry(fitted),
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
