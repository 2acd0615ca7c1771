"""Options of ``gaisnet plan`` for searches, calibrations and wall-clock limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gaisnet.options.common import PathOption

__all__ = [
    "Calibrate",
    "CalibrationFile",
    "Clock",
    "FrontFile",
    "FrontFolder",
    "Pick",
    "Sampler",
    "SearchFor",
    "Storage",
    "Study",
    "TimeLimit",
]

Option = typer.Option

Calibrate = Annotated[
    Path | None,
    PathOption(
        "--calibrate", metavar="RUN", help="Fit the job's figures to this run; plan nothing."
    ),
]
Clock = Annotated[
    Literal["virtual", "wall"] | None,
    Option("--clock", help="Of --calibrate: the devices' own, or the one of the run's figures."),
]
CalibrationFile = Annotated[
    Path | None,
    PathOption(
        "--calibration", metavar="FILE", help="Plan with figures that --calibrate has fitted."
    ),
]
TimeLimit = Annotated[
    float | None,
    Option(
        "--time-limit", min=1e-3, help="Wall-clock seconds per split: the plan says that it may "
        "come out otherwise next time.",
    ),
]  # fmt: skip
SearchFor = Annotated[
    int | None,
    Option(
        "--search", min=1, metavar="N",
        help="Try N combinations of the job's search.space: all of them if there are no more.",
    ),
]  # fmt: skip
Pick = Annotated[
    Literal["time", "energy", "bytes", "memory", "leakage", "knee"] | None,
    Option("--pick", help="Which plan of a search to take: the best in this, or the knee."),
]
Sampler = Annotated[
    Literal["nsga2", "tpe"] | None,
    Option("--sampler", help="Proposes combinations where there are more than N."),
]
Storage = Annotated[
    str | None,
    Option("--storage", help="Of a search's trials: sqlite:///FILE, journal:FILE, or another URL."),
]
Study = Annotated[
    str | None, Option("--study", help="Name in the storage; else the job's. It goes on there.")
]
FrontFile = Annotated[
    Path | None, PathOption("--front", metavar="FILE", help="File to write a search's front to.")
]
FrontFolder = Annotated[
    Path | None,
    PathOption("--front-dir", metavar="DIR", help="Folder to write every plan of a front to."),
]
