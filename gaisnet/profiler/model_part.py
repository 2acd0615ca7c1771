"""The model part of a profile: analysis, then times on this device."""

from __future__ import annotations

from collections.abc import Sequence

from gaisnet.profiler.analysis import Optimizer, analyse
from gaisnet.profiler.progress import Progress, silent
from gaisnet.schema.model import ModelSpec, TunableSpec
from gaisnet.schema.profile import ModelPart

__all__ = ["profile_model"]


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
        times: Whether to time it. Models too large for this device are not timed, with a warning.
        device: Where to time it, ``cpu`` or ``cuda``.
        seed: Seed of the batches.
        progress: Told what is being measured.

    Raises:
        ModelError: The model cannot be loaded or cut, or cannot have these tunable modules.
    """
    show = progress or silent
    show("operations and bytes", 0.0)
    part = analyse(spec, tunable, optimizer=optimizer, tokens=tokens, seed=seed)
    show("done", 1.0)
    return part
