"""Reads a plan and the files that it was made from, and refuses any that have changed since."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gaisnet.errors import MismatchError
from gaisnet.models import FoundationModel
from gaisnet.models.identity import model_fingerprint, weights_sha256
from gaisnet.planner import at_rank, profile_at_rank
from gaisnet.planner.cost import CostModel
from gaisnet.planner.routing import FINE_TUNING
from gaisnet.schema.files import read_model, resolve, sha256_file
from gaisnet.schema.fleet import Device, Fleet
from gaisnet.schema.job import Job
from gaisnet.schema.model import ModelSpec
from gaisnet.schema.plan import InputFile, Plan, PlanInputs
from gaisnet.schema.profile import DevicePart, ModelPart, Profile
from gaisnet.schema.run_calibration import Calibration

__all__ = ["PlanFiles", "check_model", "read_plan"]

_PLAN_AGAIN = "make a new plan with `gaisnet plan`"


@dataclass(frozen=True, kw_only=True)
class PlanFiles:
    """A plan with its inputs; paths are where they were read."""

    plan: Plan
    path: Path
    sha256: str
    job: Job
    job_path: Path
    fleet: Fleet
    fleet_path: Path
    profile: ModelPart
    profile_device: DevicePart | None
    """The device that the profile was made on."""
    device_profiles: Mapping[str, Profile]
    calibration: Calibration | None = None

    def device(self, name: str) -> Device:
        """A device of the fleet."""
        return next(device for device in self.fleet.devices if device.id == name)

    def model_spec(self) -> ModelSpec:
        """The job's model; a source that is a path is taken relative to the job."""
        source = resolve(self.job_path, self.job.model.source)
        if not os.path.exists(source):
            return self.job.model
        return self.job.model.model_copy(update={"source": str(source.resolve())})

    def cost_model(self) -> CostModel:
        """The figures that the plan was made with, in fine-tuning's share."""
        parts = self.job, self.fleet, self.profile, self.device_profiles, self.profile_device
        whole = CostModel.from_parts(*parts, self.calibration)
        if self.job.inference_share is not None or not self.plan.shares:
            return whole
        return whole.at_plan_shares(FINE_TUNING, self.plan.shares)

    def service_cost_model(self, service: str) -> CostModel:
        """The same figures in a service's share."""
        if self.job.inference_share is not None:
            return self.cost_model().at_share(self.job.inference_share)
        return self.cost_model().at_plan_shares(service, self.plan.shares)


def read_plan(path: Path) -> PlanFiles:
    """Read a plan and its inputs.

    Raises:
        InputError: The plan, or a file that it names, is missing or malformed.
        MismatchError: A file has changed since the plan was made, the plan names a device that
            the fleet lacks, or it asks for what cannot be run.
    """
    plan = read_model(path, Plan)
    inputs = plan.inputs
    profile = read_model(_unchanged(path, inputs.profile, "profile"), Profile)
    if profile.model is None:
        raise MismatchError("the profile has no model part", where=inputs.profile.path)
    job = read_model(_unchanged(path, inputs.job, "job"), Job)
    files = PlanFiles(
        plan=plan,
        path=path,
        sha256=sha256_file(path),
        job=job,
        job_path=resolve(path, inputs.job.path),
        fleet=read_model(_unchanged(path, inputs.fleet, "fleet"), Fleet),
        fleet_path=resolve(path, inputs.fleet.path),
        profile=at_rank(profile.model, job.tunable),
        profile_device=profile.device,
        device_profiles={
            device: profile_at_rank(
                read_model(_unchanged(path, file, f"profile of {device}"), Profile),
                profile.model,
                job.tunable,
            )
            for device, file in sorted(inputs.device_profiles.items())
        },
        calibration=_calibration(path, inputs),
    )
    _check_devices(files)
    _check_clusters(files)
    return files


def _calibration(path: Path, inputs: PlanInputs) -> Calibration | None:
    if inputs.calibration is None:
        return None
    return read_model(_unchanged(path, inputs.calibration, "calibration"), Calibration)


def check_model(files: PlanFiles, model: FoundationModel) -> None:
    """Refuse a model, with its tunable modules attached, that the plan was not made for.

    Raises:
        MismatchError: Its parameters or weights are others.
    """
    where = str(files.path)
    if model.n_units != files.plan.n_units:
        raise MismatchError(
            f"the plan is for {files.plan.n_units} units, but the model has {model.n_units}",
            where=where,
            hint=f"{_PLAN_AGAIN}, from a profile of this model",
        )
    if model_fingerprint(model) != files.plan.model_fingerprint:
        raise MismatchError(
            f"the plan is for another model than {model.spec.source}: its parameters differ",
            where=where,
            hint=f"profile this model, then {_PLAN_AGAIN}",
        )
    if files.profile.weights_sha256 not in (None, weights_sha256(model.spec)):
        raise MismatchError(
            f"the weights in {model.spec.source} are not those that were profiled",
            where=where,
            hint=f"profile this model, then {_PLAN_AGAIN}",
        )


def _unchanged(plan_path: Path, file: InputFile, what: str) -> Path:
    path = resolve(plan_path, file.path)
    if not os.path.isfile(path):
        raise MismatchError(
            f"the {what} that the plan was made from is not there",
            where=str(path),
            hint=f"put it back, or {_PLAN_AGAIN}",
        )
    if sha256_file(path) != file.sha256:
        raise MismatchError(
            f"the {what} has changed since the plan was made",
            where=str(path),
            hint=_PLAN_AGAIN,
        )
    return path


def _check_devices(files: PlanFiles) -> None:
    known = {device.id for device in files.fleet.devices}
    for cluster in files.plan.clusters:
        named = {owner.device for owner in cluster.owners} | {cluster.edge}
        named |= {shard for owner in cluster.owners for shard in owner.shards}
        named |= {stage.device for stage in cluster.body}
        for device in sorted(named - known):
            raise MismatchError(
                f"cluster {cluster.id} of the plan uses device {device}, which the fleet lacks",
                where=str(files.path),
                hint=_PLAN_AGAIN,
            )
    if files.plan.cloud is not None and files.plan.cloud not in known:
        raise MismatchError(
            f"the plan's cloud {files.plan.cloud} is no device of the fleet",
            where=str(files.path),
            hint=_PLAN_AGAIN,
        )


def _check_clusters(files: PlanFiles) -> None:
    owners = [owner.device for c in files.plan.clusters for owner in c.owners]
    for device in sorted({d for d in owners if owners.count(d) > 1}):
        raise MismatchError(
            f"device {device} owns data in two clusters", where=str(files.path), hint=_PLAN_AGAIN
        )
    for cluster in files.plan.clusters:
        if cluster.head_units == 0:
            raise MismatchError(
                f"cluster {cluster.id} has no head: raw inputs would leave their owners",
                where=str(files.path),
                hint="plan with constraints.min_head_units of at least 1",
            )
        if cluster.handover == "relay" and cluster.intra == "merge":
            raise MismatchError(
                f"cluster {cluster.id} merges owners that hand modules from turn to turn",
                where=str(files.path),
                hint="plan with intra: sequential",
            )
