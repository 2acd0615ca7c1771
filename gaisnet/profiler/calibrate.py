"""One training step, timed on the device that a profile is to be extrapolated to."""

from __future__ import annotations

import torch

from gaisnet.errors import ModelError
from gaisnet.models import attach, load_model
from gaisnet.models.accelerator import refusals_of_the_gpu, usual_place
from gaisnet.models.identity import model_fingerprint
from gaisnet.profiler.analysis import Optimizer
from gaisnet.profiler.cuts import measure_cuts
from gaisnet.profiler.device import device_name, software_versions
from gaisnet.profiler.device_memory import memory_limit
from gaisnet.profiler.standins import model_on_meta
from gaisnet.profiler.statistics import spread_of
from gaisnet.profiler.timing import time_whole_steps
from gaisnet.profiler.timing_summary import step_parts
from gaisnet.progress import Progress, silent
from gaisnet.schema.calibration import CalibrationStep
from gaisnet.schema.model import ModelSpec, TunableSpec

__all__ = ["calibration_step"]


def calibration_step(
    spec: ModelSpec,
    tunable: TunableSpec,
    *,
    optimizer: Optimizer = "adamw",
    batch_size: int = 4,
    tokens: int | None = None,
    device: str | None = None,
    seed: int = 0,
    threads: int = 1,
    progress: Progress | None = None,
) -> CalibrationStep:
    """Time a whole step (forward, backward, update) on this device: a few times, by the mean.

    Args:
        spec: The model.
        tunable: Its tunable modules.
        optimizer: What updates them.
        batch_size: Samples of the step.
        tokens: Sequence length, for text.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        seed: Seed of the batch.
        threads: CPU threads.
        progress: Told what is being done.

    Raises:
        ModelError: The model cannot be loaded, cannot have these tunable modules, is too large
            for this device, or cannot give the same bits again on its GPU.
    """
    show = progress or silent
    place = usual_place(device)
    show("loading", 0.0)
    meta = model_on_meta(spec, tunable, seed)
    _refuse_too_large(meta.bare, place)
    model = attach(load_model(spec, device=place), tunable, seed=seed)
    show("one step", 0.3)
    with refusals_of_the_gpu(spec.source):
        plain, clocked = time_whole_steps(
            model,
            optimizer=optimizer,
            batch_size=batch_size,
            tokens=tokens,
            seed=seed,
            threads=threads,
        )
    show("done", 1.0)
    return CalibrationStep(
        device=device_name(torch.device(place)),
        fingerprint=model_fingerprint(meta),
        tunable=tunable,
        optimizer=optimizer,
        tokens=measure_cuts(meta, tokens, seed).tokens,
        batch_size=batch_size,
        step=spread_of([run.wall_s for run in plain]),
        step_cpu=spread_of([run.cpu_s for run in plain]),
        parts_cpu=step_parts(clocked),
        threads=threads,
        tool_versions=software_versions(),
    )


def _refuse_too_large(module: torch.nn.Module, place: str) -> None:
    """Weights alone must fit, or loading them would end in the operating system's hands."""
    needed = sum(p.numel() * p.element_size() for p in module.parameters())
    limit = (
        int(torch.cuda.mem_get_info()[1])
        if torch.device(place).type == "cuda"
        else memory_limit().limit_bytes
    )
    if needed > limit:
        raise ModelError(
            f"the model's weights take {needed} bytes, and this device has {limit}",
            hint="calibrate with a model of the same kind that fits, or not at all",
        )
