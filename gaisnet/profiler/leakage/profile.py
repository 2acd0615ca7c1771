"""A profile with its leakage measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gaisnet.errors import UsageError
from gaisnet.models import attach, load_model
from gaisnet.profiler.leakage.measure import measure_leakage
from gaisnet.profiler.leakage.sample import DataSample, read_sample
from gaisnet.progress import Progress
from gaisnet.schema.model import ModelSpec
from gaisnet.schema.profile import Profile

__all__ = ["read_profile_sample", "with_leakage"]


def read_profile_sample(path: Path, spec: ModelSpec, most: int) -> DataSample:
    """The first samples of a file, checked against a model of which nothing is allocated.

    Raises:
        InputError: The file is missing, malformed, or not what the model takes.
        ModelError: The model cannot be loaded.
    """
    return read_sample(path, load_model(spec, device="meta"), most)


def with_leakage(
    profile: Profile,
    sample: DataSample,
    *,
    announce: Callable[[float], None] | None = None,
    progress: Progress | None = None,
) -> Profile:
    """The same profile with one row of leakage a cut; see ``measure_leakage``.

    Raises:
        UsageError: The profile has no model part.
        ModelError: The model cannot be loaded.
    """
    part = profile.model
    if part is None:
        raise UsageError("leakage is a model's, and this profile has none")
    model = attach(load_model(part.model), part.tunable, seed=profile.seed)
    rows = measure_leakage(model, sample, seed=profile.seed, announce=announce, progress=progress)
    return profile.model_copy(update={"model": part.model_copy(update={"leakage": rows})})
