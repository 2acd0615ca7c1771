"""A job that is to stand in another folder: its paths are relative to where it stands."""

from __future__ import annotations

import os
from pathlib import Path

from gaisnet.schema.files import resolve
from gaisnet.schema.job import Job

__all__ = ["relocated"]


def relocated(job: Job, here: Path, there: Path) -> Job:
    """The job of file ``here`` as it must read in file ``there``."""

    def moved(path: str) -> str:
        if Path(path).expanduser().is_absolute():
            return path
        target = resolve(here, path).resolve()
        return Path(os.path.relpath(target, there.parent.resolve())).as_posix()

    source = job.model.source
    if os.path.exists(resolve(here, source)):
        source = moved(source)
    services = tuple(
        service
        if service.data is None
        else service.model_copy(update={"data": moved(service.data)})
        for service in job.services
    )
    return job.model_copy(
        update={
            "fleet": moved(job.fleet),
            "profile": moved(job.profile),
            "calibration": job.calibration and moved(job.calibration),
            "model": job.model.model_copy(update={"source": source}),
            "services": services,
            "evaluation": job.evaluation if job.evaluation is None else moved(job.evaluation),
        }
    )
