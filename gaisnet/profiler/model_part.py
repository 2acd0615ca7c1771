"""The model part of a profile: analysis, then times on this device."""

from __future__ import annotations

from collections.abc import Sequence

from gaisnet.extrapolation import extrapolate
from gaisnet.models import attach, load_model
from gaisnet.models.accelerator import refusals_of_the_gpu
from gaisnet.profiler.affordable import obstacle_to_timing
from gaisnet.profiler.analysis import Optimizer, analyse
from gaisnet.profiler.timing import time_steps
from gaisnet.profiler.timing_summary import with_records
from gaisnet.progress import Progress, silent
from gaisnet.schema.model import ModelSpec, TunableSpec
from gaisnet.schema.profile import DevicePart, ModelPart

__all__ = ["TIMING_BUDGET_S", "profile_model"]

TIMING_BUDGET_S = 180.0
"""Longest timing, by estimate, that nobody has to ask for."""
_BUDGET_S = 6.0
_ANALYSIS_SHARE = 0.2
_TIMING_STARTS = 0.3


def profile_model(
    spec: ModelSpec,
    tunable: TunableSpec,
    *,
    optimizer: Optimizer = "adamw",
    batch_sizes: Sequence[int] = (1, 4),
    tokens: int | None = None,
    times: bool = True,
    timing_budget_s: float = TIMING_BUDGET_S,
    device: str = "cpu",
    seed: int = 0,
    threads: int = 1,
    figures: DevicePart | None = None,
    progress: Progress | None = None,
) -> ModelPart:
    """Profile a model under given tunable modules.

    FLOPs and bytes depend on nothing but the arguments; times are this device's.

    Args:
        spec: The model.
        tunable: Its tunable modules.
        optimizer: What updates them.
        batch_sizes: Batch sizes to time.
        tokens: Sequence length, for text; by default 32, or fewer where the model has fewer.
        times: Whether to time it. For a model that is too large for this device, or too slow,
            times are made from the device's figures, and marked as extrapolated.
        timing_budget_s: What timing may take by an estimate made before anything is allocated.
        device: Where to time it, ``cpu`` or ``cuda``.
        seed: Seed of the batches.
        threads: CPU threads to time with.
        figures: What the device can do, as ``profile_device`` measured it; without it a model
            that is too large or too slow has no times.
        progress: Told what is being measured.

    Raises:
        ModelError: The model cannot be loaded or cut, cannot have these tunable modules, or cannot
            give the same bits again on a GPU.
    """
    show = progress or silent
    show("operations and bytes", 0.0)
    part = analyse(spec, tunable, optimizer=optimizer, tokens=tokens, seed=seed)
    sizes = sorted(set(batch_sizes))
    if not times:
        part = _warned(part, "not timed: analysed on the meta device, as asked")
    elif obstacle := obstacle_to_timing(
        part, sizes, device=device, threads=threads, figures=figures, budget_s=timing_budget_s
    ):
        part = _made_up(part, sizes, obstacle, figures)
    else:
        part = _timed(part, sizes, tokens, device, seed, threads, show)
    show("done", 1.0)
    return part


def _made_up(
    part: ModelPart, batch_sizes: Sequence[int], obstacle: str, figures: DevicePart | None
) -> ModelPart:
    """Times of a model that cannot be timed on this device, from what the device can do."""
    if figures is None:
        return _warned(part, f"not timed: {obstacle}")
    made = extrapolate(part, figures, batch_sizes=batch_sizes)
    return _warned(made, f"times are extrapolated, not measured: {obstacle}")


def _timed(
    part: ModelPart,
    batch_sizes: Sequence[int],
    tokens: int | None,
    device: str,
    seed: int,
    threads: int,
    show: Progress,
) -> ModelPart:
    show("loading", _ANALYSIS_SHARE)
    model = attach(load_model(part.model, device=device), part.tunable, seed=seed)
    with refusals_of_the_gpu(part.model.source):
        records = time_steps(
            model,
            optimizer=part.optimizer,
            batch_sizes=batch_sizes,
            tokens=tokens,
            seed=seed,
            threads=threads,
            budget_s=_BUDGET_S,
            show=lambda what, done: show(what, _TIMING_STARTS + (1 - _TIMING_STARTS) * done),
        )
    return with_records(part, records)


def _warned(part: ModelPart, warning: str) -> ModelPart:
    return part.model_copy(update={"warnings": (*part.warnings, warning)})
