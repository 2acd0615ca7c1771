"""The files that a plan is made from, read and checked against each other."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gaisnet.errors import InputError, MismatchError
from gaisnet.planner.ranks import at_rank, profile_at_rank
from gaisnet.schema.files import read_model, resolve, sha256_file
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.job import Job
from gaisnet.schema.model import ModelSpec, TunableSpec
from gaisnet.schema.plan import Plan
from gaisnet.schema.profile import DevicePart, ModelPart, Profile
from gaisnet.schema.run_calibration import Calibration

__all__ = ["Inputs", "check_profile", "inputs_of", "read_inputs"]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Job, fleet and profiles, and where they were read."""

    job: Job
    fleet: Fleet
    model: ModelPart
    model_device: DevicePart | None
    """The device that the model was timed on."""
    device_profiles: Mapping[str, Profile]
    job_path: Path
    fleet_path: Path
    profile_path: Path
    device_profile_paths: Mapping[str, Path]
    calibration: Calibration | None = None
    calibration_path: Path | None = None


def read_inputs(job_path: str | Path, calibration: str | Path | None = None) -> Inputs:
    """Read a job and everything that it names.

    Args:
        job_path: The job.
        calibration: File of a calibration instead of the job's.

    Raises:
        InputError: A file is missing, malformed or inconsistent.
        MismatchError: The profile is not of the job's model, tunable modules or optimizer.
    """
    path = Path(job_path)
    job = read_model(path, Job)
    if calibration is not None:
        job = job.model_copy(update={"calibration": _relative(calibration, path)})
    fitted = None if job.calibration is None else resolve(path, job.calibration)
    fleet_path, profile_path = resolve(path, job.fleet), resolve(path, job.profile)
    fleet = read_model(fleet_path, Fleet)
    profile = read_model(profile_path, Profile)
    if profile.model is None:
        raise InputError(
            "the profile has no model part",
            where=str(profile_path),
            hint=f"make one with `gaisnet profile {job.model.source}`",
        )
    model = at_rank(profile.model, job.tunable)
    check_profile(job, model, where=str(profile_path))
    check_names(job, fleet, where=str(path))
    paths = {d.id: resolve(fleet_path, d.profile) for d in fleet.devices if d.profile is not None}
    read = {path: read_model(path, Profile) for path in sorted(set(paths.values()))}
    return Inputs(
        job=job,
        fleet=fleet,
        model=model,
        model_device=profile.device,
        device_profiles={
            device: profile_at_rank(read[path], profile.model, job.tunable)
            for device, path in paths.items()
        },
        job_path=path,
        fleet_path=fleet_path,
        profile_path=profile_path,
        device_profile_paths=paths,
        calibration=None if fitted is None else read_model(fitted, Calibration),
        calibration_path=fitted,
    )


def inputs_of(plan: Plan, plan_path: str | Path) -> Inputs:
    """The files that a plan was made from.

    Raises:
        InputError: One is missing or malformed.
        MismatchError: One has changed since.
    """
    named = plan.inputs
    files = [("job", named.job), ("fleet", named.fleet), ("profile", named.profile)]
    files += [(f"profile of {device}", file) for device, file in named.device_profiles.items()]
    files += [("calibration", named.calibration)] if named.calibration else []
    for what, file in files:
        path = resolve(plan_path, file.path)
        if sha256_file(path) != file.sha256:
            raise MismatchError(
                f"the {what} has changed since the plan was made",
                where=str(path),
                hint="make a new plan with `gaisnet plan`",
            )
    fitted = None
    if named.calibration is not None:
        fitted = resolve(plan_path, named.calibration.path)
    return read_inputs(resolve(plan_path, named.job.path), fitted)


def _relative(path: str | Path, job_path: Path) -> str:
    """A path as it would stand in the job."""
    return Path(os.path.relpath(Path(path).resolve(), job_path.parent.resolve())).as_posix()


def check_names(job: Job, fleet: Fleet, where: str | None = None) -> None:
    """Raises InputError if the job names a device that the fleet lacks."""
    known = {device.id for device in fleet.devices}
    limits = job.constraints
    named = [("constraints.forbidden_devices", d) for d in limits.forbidden_devices]
    named += [("constraints.forced_devices", d) for d in limits.forced_devices]
    named += [("constraints.together_devices", d) for s in limits.together_devices for d in s]
    named += [("constraints.apart_devices", d) for s in limits.apart_devices for d in s]
    named += [(f"services[{s.id}].origin", s.origin) for s in job.services if s.origin is not None]
    for field, device in named:
        if device not in known:
            raise InputError(
                f"{field} names {device!r}, which is no device of the fleet",
                where=where,
                hint=f"the fleet has {', '.join(sorted(known))}",
            )


def check_profile(job: Job, model: ModelPart, where: str | None = None) -> None:
    """Raises MismatchError if ``model`` was profiled as something else than the job wants.

    The weights themselves are compared when the plan is executed, by their fingerprint.
    """
    found = [
        ("another model", _describe(job.model, model.model), _describe(model.model, job.model)),
        ("other tunable modules", *_differing(job.tunable, model.tunable)),
        ("another optimizer", job.fine_tuning.optimizer.kind, model.optimizer),
    ]
    for what, wanted, profiled in found:
        if wanted != profiled:
            raise MismatchError(
                f"the profile is of {what}: the job says {wanted}, it says {profiled}",
                where=where,
                hint="profile the job's model again, with the job's tunable modules and optimizer",
            )


def _differing(one: TunableSpec, other: TunableSpec) -> tuple[str, str]:
    """In words, the fields of each that are not the same in both."""
    first, second = one.model_dump(mode="json"), other.model_dump(mode="json")
    names = [name for name in first if first[name] != second.get(name)]
    if one.kind != other.kind or not names:
        return one.kind, other.kind
    said = (", ".join(f"{name} {spec[name]}" for name in names) for spec in (first, second))
    return next(said), next(said)


def _describe(spec: ModelSpec, other: ModelSpec) -> str:
    """What must be equal in two specs: sources are relative to different files, and what one
    leaves to the config cannot be compared."""
    name = PurePosixPath(spec.source.rstrip("/")).name
    parts = [f"source …/{name}", f"dtype {spec.dtype}"]
    if None not in (spec.task, other.task):
        parts.append(f"task {spec.task}")
    if None not in (spec.num_labels, other.num_labels):
        parts.append(f"num_labels {spec.num_labels}")
    return ", ".join(parts)
