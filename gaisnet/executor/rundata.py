"""Loads the data that a run needs: owners' shards, held-out samples, requests."""

from __future__ import annotations

from gaisnet.errors import InputError
from gaisnet.executor.data import DataFormat, Shard, load_shard
from gaisnet.executor.planfiles import PlanFiles
from gaisnet.schema.files import resolve
from gaisnet.schema.job import Service

__all__ = ["load_held_out", "load_requests", "load_shards"]


def load_shards(files: PlanFiles, form: DataFormat) -> dict[str, Shard]:
    """The data of every device that feeds an owner, by device.

    Raises:
        InputError: A device has no data, or not what the model takes.
    """
    feeding = {s for c in files.plan.clusters for owner in c.owners for s in owner.shards}
    return {device: _load(files, device, form) for device in sorted(feeding)}


def load_held_out(files: PlanFiles, form: DataFormat) -> Shard | None:
    """The held-out samples of the job, if it names any; raises InputError."""
    if files.job.evaluation is None:
        return None
    return load_shard(resolve(files.job_path, files.job.evaluation), "evaluation", form)


def load_requests(files: PlanFiles, service: Service, form: DataFormat) -> Shard | None:
    """The requests of a service, if the job names any; raises InputError."""
    if service.data is None:
        return None
    path = resolve(files.job_path, service.data)
    return load_shard(path, service.id, form, use="requests", tokens=service.prompt_tokens)


def _load(files: PlanFiles, device: str, form: DataFormat) -> Shard:
    data = files.device(device).data
    if data is None or data.path is None:
        raise InputError(
            f"device {device} is to feed data, but has no data.path",
            where=str(files.fleet_path),
            hint="name the file with its samples under data.path",
        )
    path = resolve(files.fleet_path, data.path)
    return load_shard(path, device, form, samples=data.samples)
