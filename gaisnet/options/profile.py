"""Options of ``gaisnet profile``, beside those of the model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from gaisnet.options.common import ComputeChoice, PathOption

__all__ = [
    "AsDevice",
    "BatchSizes",
    "Calibrate",
    "Calibration",
    "Compare",
    "Compute",
    "Data",
    "DeviceOnly",
    "FromProfile",
    "Insecure",
    "Leakage",
    "LeakageSamples",
    "LinkTo",
    "ListPresets",
    "Listen",
    "ModelOnly",
    "Optimizer",
    "Threads",
    "Times",
    "TimingBudget",
    "Tokens",
]

Option = typer.Option

Optimizer = Annotated[
    Literal["adamw", "sgd"], Option("--optimizer", help="What updates the tuned modules.")
]
Tokens = Annotated[int | None, Option("--tokens", min=1, max=2**24, help="Sequence length.")]
BatchSizes = Annotated[str, Option("--batch-sizes", help="Batch sizes to time, by commas.")]
Times = Annotated[bool, Option("--times/--no-times", help="Time the model, or only count.")]
TimingBudget = Annotated[
    float,
    Option(
        "--timing-budget",
        min=0.0,
        metavar="SECONDS",
        help="Extrapolate the times of a model that by estimate would take longer to time.",
    ),
]
Compute = Annotated[
    ComputeChoice,
    Option("--compute", help="What to measure; auto: the GPU if there is one, else the CPU."),
]


def _no_more_than_there_are(threads: int) -> int:
    """More threads than processors only wait for each other; thousands end the process."""
    processors = os.cpu_count() or threads
    if threads > processors:
        raise typer.BadParameter(f"{threads} threads, but this machine has {processors} processors")
    return threads


Threads = Annotated[
    int,
    Option(
        "--threads", min=1, callback=_no_more_than_there_are, help="CPU threads to measure with."
    ),
]
DeviceOnly = Annotated[bool, Option("--device-only", help="Measure this device, and no model.")]
ModelOnly = Annotated[bool, Option("--model-only", help="Do not measure this device.")]
ListPresets = Annotated[bool, Option("--list-presets", help="Show the catalogue of devices.")]
AsDevice = Annotated[
    str | None,
    Option(
        "--as",
        metavar="DEVICE",
        help="Extrapolate the times to this device: a preset, or a profile made on it.",
    ),
]
FromProfile = Annotated[
    Path | None,
    PathOption(
        "--from", metavar="PROFILE", help="With --as: a profile made before; measure nothing."
    ),
]
Calibration = Annotated[
    bool, Option("--calibration", help="Only time one whole step here, for --calibrate elsewhere.")
]
Calibrate = Annotated[
    Path | None,
    PathOption(
        "--calibrate", metavar="STEP", help="With --as: a step timed there by --calibration."
    ),
]
Leakage = Annotated[
    bool, Option("--leakage", help="Attack every cut, on the samples of --data: what leaks there.")
]
Data = Annotated[
    Path | None, PathOption("--data", help="Safetensors file with the model's inputs and labels.")
]
LeakageSamples = Annotated[
    int, Option("--leakage-samples", min=8, help="How many of its samples to use at most.")
]
Compare = Annotated[
    tuple[Path, Path] | None,
    PathOption("--compare", metavar="A B", help="Show two profiles side by side; measure nothing."),
]
Listen = Annotated[
    str | None,
    Option("--listen", metavar="HOST:PORT", help="Be the other end of --link, until Ctrl-C."),
]
LinkTo = Annotated[
    str | None,
    Option("--link", metavar="HOST:PORT", help="Measure the link to where --listen runs."),
]
Insecure = Annotated[
    bool, Option("--insecure", help="--listen to other machines, without authentication.")
]
