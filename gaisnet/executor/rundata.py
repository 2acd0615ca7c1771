"""Where the data of a run is: owners' shards, held-out samples, requests."""

from __future__ import annotations

from pathlib import Path

from gaisnet.errors import InputError
from gaisnet.executor.blueprints import DataSource, DeviceFile, RequestSource
from gaisnet.executor.data import DataFormat, Shard, load_shard
from gaisnet.executor.planfiles import PlanFiles
from gaisnet.schema.files import resolve
from gaisnet.schema.job import Service

__all__ = ["data_sources", "load_held_out", "request_source"]


def data_sources(files: PlanFiles) -> dict[str, DataSource]:
    """Where every device that feeds an owner has its data, by device.

    Raises:
        InputError: The fleet names no data of one.
    """
    feeding = {s for c in files.plan.clusters for owner in c.owners for s in owner.shards}
    return {device: _source(files, device) for device in sorted(feeding)}


def load_held_out(files: PlanFiles, form: DataFormat) -> Shard | None:
    """The held-out samples of the job, if it names any; raises InputError."""
    if files.job.evaluation is None:
        return None
    return load_shard(resolve(files.job_path, files.job.evaluation), "evaluation", form)


def request_source(files: PlanFiles, service: Service) -> RequestSource | None:
    """Where the entry of a service has its requests, if the job names any."""
    if service.data is None:
        return None
    file = _file(files.job_path, service.data)
    return RequestSource(name=service.id, file=file, tokens=service.prompt_tokens)


def _source(files: PlanFiles, device: str) -> DataSource:
    data = files.device(device).data
    if data is None or data.path is None:
        raise InputError(
            f"device {device} is to feed data, but has no data.path",
            where=str(files.fleet_path),
            hint="name the file with its samples under data.path",
        )
    file = _file(files.fleet_path, data.path)
    return DataSource(name=device, file=file, samples=data.samples)


def _file(beside: Path, path: str) -> DeviceFile:
    return DeviceFile(path=path, base=str(beside.resolve().parent))
