"""Which of gaisnet's files a mapping looks like, for whoever gave one in place of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

__all__ = ["kind_of", "name_of"]


def kind_of(data: Mapping[str, Any]) -> str | None:
    """``a plan``, if ``data`` has the top fields of a plan and of no other file; else None."""
    found = [name for name, model in _kinds() if _fits(data, model)]
    return found[0] if len(found) == 1 else None


def name_of(model: type[BaseModel]) -> str | None:
    """``a plan`` for ``Plan``; None for what is no file of its own."""
    return next((name for name, each in _kinds() if each is model), None)


def _fits(data: Mapping[str, Any], model: type[BaseModel]) -> bool:
    fields = model.model_fields
    required = {name for name, field in fields.items() if field.is_required()}
    return bool(data) and required <= data.keys() <= fields.keys()


def _kinds() -> Iterator[tuple[str, type[BaseModel]]]:
    # Only a complaint needs them all: they are not imported before.
    from gaisnet.schema.calibration import CalibrationStep
    from gaisnet.schema.fleet import Fleet
    from gaisnet.schema.front import Front
    from gaisnet.schema.job import Job
    from gaisnet.schema.plan import Plan
    from gaisnet.schema.profile import Profile
    from gaisnet.schema.run import RunManifest
    from gaisnet.schema.run_calibration import Calibration

    yield "a fleet", Fleet
    yield "a job", Job
    yield "a profile", Profile
    yield "a plan", Plan
    yield "a front", Front
    yield "a run's manifest", RunManifest
    yield "a run's calibration", Calibration
    yield "a calibration step", CalibrationStep
