"""Writes the JSON Schema of every file: ``python -m gaisnet.schema.export docs/schema``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gaisnet.schema.base import Strict
from gaisnet.schema.calibration import CalibrationStep
from gaisnet.schema.files import write_atomic
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.front import Front
from gaisnet.schema.job import Job
from gaisnet.schema.plan import Plan
from gaisnet.schema.profile import Profile
from gaisnet.schema.run import Event, RoundMetrics, RunManifest, ServiceMetrics
from gaisnet.schema.run_calibration import Calibration

__all__ = ["export", "schema_texts"]

_MODELS: dict[str, type[Strict]] = {
    "fleet": Fleet,
    "job": Job,
    "profile": Profile,
    "calibration": CalibrationStep,
    "plan": Plan,
    "front": Front,
    "run-calibration": Calibration,
    "run-manifest": RunManifest,
    "run-metrics": RoundMetrics,
    "run-service-metrics": ServiceMetrics,
    "run-event": Event,
}


def schema_texts() -> dict[str, str]:
    """The JSON Schema (draft 2020-12) of every file that gaisnet reads or writes, by file name."""
    return {f"{name}.schema.json": _schema_text(name, model) for name, model in _MODELS.items()}


def _schema_text(name: str, model: type[Strict]) -> str:
    schema = model.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"gaisnet {name}"
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def export(folder: Path) -> None:
    """Writes every schema into a folder, and makes the folder if need be.

    Raises:
        OutputError: The folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schema_texts().items():
        write_atomic(folder / name, text, force=True)


if __name__ == "__main__":
    export(Path(sys.argv[1]))
