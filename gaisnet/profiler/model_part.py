"""The model part of a profile: analysis, then times on this device."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gaisnet.extrapolation import extrapolate
from gaisnet.models import attach, load_model
from gaisnet.profiler.analysis import Optimizer, analyse
from gaisnet.profiler.device_memory import memory_limit
from gaisnet.profiler.timing import time_steps
from gaisnet.profiler.timing_summary import with_records
from gaisnet.progress import Progress, silent
from gaisnet.schema.model import ModelSpec, TunableSpec
from gaisnet.schema.profile import DevicePart, ModelPart

__all__ = ["profile_model", "training_bytes"]

_USABLE_SHARE = 0.9
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
        times: Whether to time it. For a model that is too large for this device, times are made
            from the device's figures, and marked as extrapolated.
        device: Where to time it, ``cpu`` or ``cuda``.
        seed: Seed of the batches.
        threads: CPU threads to time with.
        figures: What the device can do, as ``profile_device`` measured it; without it a model
            that is too large has no times.
        progress: Told what is being measured.

    Raises:
        ModelError: The model cannot be loaded or cut, or cannot have these tunable modules.
    """
    show = progress or silent
    show("operations and bytes", 0.0)
    part = analyse(spec, tunable, optimizer=optimizer, tokens=tokens, seed=seed)
    sizes = sorted(set(batch_sizes))
    shortage = _shortage(part, max(sizes), device)
    if not times:
        part = _warned(part, "not timed: analysed on the meta device, as asked")
    elif shortage is None:
        part = _timed(part, sizes, tokens, device, seed, threads, show)
    else:
        part = _made_up(part, sizes, shortage, figures)
    show("done", 1.0)
    return part


def training_bytes(part: ModelPart, batch_size: int) -> int:
    """Most memory that training the whole model needs, by the profile's own figures."""
    fixed = sum(u.weight_bytes + u.gradient_bytes + u.optimizer_bytes for u in part.units)
    saved = sum(unit.saved_activation_bytes for unit in part.units)
    return fixed + batch_size * (saved + max(unit.working_bytes for unit in part.units))


def _shortage(part: ModelPart, batch_size: int, device: str) -> str | None:
    """Why the model cannot be timed here, if so."""
    needed, limit = training_bytes(part, batch_size), _memory_bytes(device)
    if needed <= _USABLE_SHARE * limit:
        return None
    return f"it needs {needed} bytes of this device's {limit}"


def _made_up(
    part: ModelPart, batch_sizes: Sequence[int], shortage: str, figures: DevicePart | None
) -> ModelPart:
    """Times of a model too large for this device, from what the device can do."""
    if figures is None:
        return _warned(part, f"not timed: {shortage}")
    made = extrapolate(part, figures, batch_sizes=batch_sizes)
    return _warned(made, f"times are extrapolated, not measured: {shortage}")


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


def _memory_bytes(device: str) -> int:
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    return memory_limit().limit_bytes


def _warned(part: ModelPart, warning: str) -> ModelPart:
    return part.model_copy(update={"warnings": (*part.warnings, warning)})
