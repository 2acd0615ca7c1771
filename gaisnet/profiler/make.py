"""A whole profile: the device part, the model part, or both."""

from __future__ import annotations

from collections.abc import Sequence

from gaisnet.models.accelerator import usual_place
from gaisnet.profiler.analysis import Optimizer
from gaisnet.profiler.device import profile_device, software_versions
from gaisnet.profiler.model_part import TIMING_BUDGET_S, profile_model
from gaisnet.profiler.ranks import with_ranks
from gaisnet.progress import Progress, silent
from gaisnet.schema.model import LoraSpec, ModelSpec, TunableSpec
from gaisnet.schema.profile import Profile

__all__ = ["make_profile"]

_DEVICE_SHARE = 0.3


def make_profile(
    spec: ModelSpec | None,
    tunable: TunableSpec | None = None,
    *,
    optimizer: Optimizer = "adamw",
    batch_sizes: Sequence[int] = (1, 4),
    tokens: int | None = None,
    ranks: Sequence[int] = (),
    times: bool = True,
    timing_budget_s: float = TIMING_BUDGET_S,
    measure_device: bool = True,
    device: str | None = None,
    seed: int = 0,
    threads: int = 1,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Profile:
    """Profile this device and a model on it.

    Args:
        spec: The model; ``None`` for the device part alone.
        tunable: Its tunable modules; by default LoRA.
        optimizer: What updates them.
        batch_sizes: Batch sizes to time.
        tokens: Sequence length, for text.
        ranks: Other ranks of LoRA to count too, for jobs that ask for them.
        times: Whether to time the model.
        timing_budget_s: What timing may take by an estimate; else times are extrapolated.
        measure_device: Whether to measure the device as well.
        device: ``cpu`` or ``cuda``; by default the GPU if there is one.
        seed: Seed of the batches.
        threads: CPU threads.
        fresh: Whether this process holds no model yet; see ``runtime_bytes``.
        progress: Told what is being measured.

    Raises:
        ModelError: The model cannot be loaded or cut, or cannot have these tunable modules.
    """
    show = progress or silent
    place = usual_place(device)
    share = _share(spec, measure_device)
    part = None
    if measure_device:
        part = profile_device(_scaled(show, 0.0, share), device=place, threads=threads, fresh=fresh)
    model = None
    if spec is not None:
        model = profile_model(
            spec,
            tunable or LoraSpec(),
            optimizer=optimizer,
            batch_sizes=batch_sizes,
            tokens=tokens,
            times=times,
            timing_budget_s=timing_budget_s,
            device=place,
            seed=seed,
            threads=threads,
            figures=part,
            progress=_scaled(show, share, 1.0),
        )
    if model is not None and ranks:
        model = with_ranks(model, ranks, tokens=tokens, seed=seed, progress=show)
    return Profile(device=part, model=model, seed=seed, tool_versions=software_versions())


def _share(spec: ModelSpec | None, measure_device: bool) -> float:
    """How much of the whole the device part is."""
    if spec is None:
        return 1.0
    return _DEVICE_SHARE if measure_device else 0.0


def _scaled(show: Progress, start: float, end: float) -> Progress:
    return lambda what, done: show(what, start + (end - start) * done)
