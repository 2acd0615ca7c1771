"""The options of ``gaisnet plan --search``, and of how long planning may take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
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
    Path | None, Option("--front", metavar="FILE", help="File to write a search's front to.")
]
FrontFolder = Annotated[
    Path | None,
    Option("--front-dir", metavar="DIR", help="Folder to write every plan of a front to."),
]
