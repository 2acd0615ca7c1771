"""Options of ``gaisnet execute`` and ``gaisnet report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gaisnet.options.common import ComputeChoice, PathArgument, PathOption

__all__ = [
    "Address",
    "Compute",
    "Engine",
    "LogLevel",
    "MetricsPort",
    "OnLoss",
    "PageFile",
    "Patience",
    "PlanFile",
    "Resume",
    "Rounds",
    "RunFolder",
    "Subject",
]

Option, Argument = typer.Option, typer.Argument

PlanFile = Annotated[Path | None, PathArgument(metavar="PLAN", help="The plan file.")]
RunFolder = Annotated[
    Path | None,
    PathOption("--output", "-o", help="The run's folder; else NAME-run beside the plan."),
]
Resume = Annotated[
    Path | None, PathOption("--resume", metavar="RUN", help="Go on with the run in this folder.")
]
Engine = Annotated[
    Literal["local", "ray"],
    Option("--engine", help="local: all in this process; ray: a process on every device."),
]
Address = Annotated[
    str | None,
    Option("--address", metavar="HOST:PORT", help="ray: the head of the devices' cluster."),
]
Compute = Annotated[
    ComputeChoice | None,
    Option(
        "--compute",
        help="What devices compute on; auto, the default: what their profiles were measured on.",
    ),
]
Patience = Annotated[
    float,
    Option("--patience", min=0.1, help="ray: factor of the times after which a device is lost."),
]
MetricsPort = Annotated[
    int | None,
    Option(
        "--metrics-port",
        min=1,
        max=65535,
        help="Serve figures for Prometheus there, on 127.0.0.1 alone.",
    ),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"],
    Option("--log-level", help="Of the devices' logs in the run's folder."),
]
OnLoss = Annotated[
    Literal["replan", "stop"],
    Option("--on-loss", help="A device is lost: go on without it under a new plan, or end."),
]
Rounds = Annotated[int | None, Option("--rounds", min=1, help="How many; else the job's.")]
Subject = Annotated[
    Path, PathArgument(metavar="PROFILE|PLAN|RUN", help="A profile, a plan, or a run's folder.")
]
PageFile = Annotated[Path | None, PathOption("--output", "-o", help="HTML file to write.")]
