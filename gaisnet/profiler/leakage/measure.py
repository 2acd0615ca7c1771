"""Leakage at every cut of a model, on a sample of data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gaisnet.models import FoundationModel
from gaisnet.profiler.leakage.collect import Crossing, class_labels, collect, groups
from gaisnet.profiler.leakage.distance import (
    centred,
    distance_correlation,
    distances,
    null_distance_correlation,
    token_distances,
)
from gaisnet.profiler.leakage.inversion import invert
from gaisnet.profiler.leakage.labels import label_auc_by_cosine, label_auc_by_norm
from gaisnet.profiler.leakage.pairs import Halves, split_samples
from gaisnet.profiler.leakage.sample import DataSample
from gaisnet.profiler.leakage.tokens import recover
from gaisnet.progress import Progress, silent
from gaisnet.schema.leakage import LeakageRow

__all__ = ["measure_cut", "measure_leakage"]

_BATCH = 8
_BUDGET_BYTES = 2**30
_TRIAL_SAMPLES = 16
_SLOW_TRIAL_S = 2.0


@dataclass(frozen=True)
class _Subject:
    """What all cuts are measured against."""

    raw: Tensor
    raw_distances: Tensor
    """Centred."""
    real: Tensor | None
    """Which tokens are no padding; ``None`` where the raw input is no text."""
    labels: Tensor | None
    embeddings: Tensor | None
    halves: Halves
    seed: int


def measure_leakage(
    model: FoundationModel,
    sample: DataSample,
    *,
    seed: int = 0,
    announce: Callable[[float], None] | None = None,
    progress: Progress | None = None,
) -> tuple[LeakageRow, ...]:
    """Measure what every cut but the last gives away.

    Smashed data and gradients are those of the tunable modules as they are now. Memory stays
    near a GiB: where the cuts need more, the sample is run several times.

    Args:
        model: With its tunable modules attached, and weights.
        sample: From ``read_sample``.
        seed: Of the halves, the permutations and the networks.
        announce: Told first how many seconds it will take, by a trial on a few samples.
        progress: Told what is being measured.

    Returns:
        One row a cut, in order.
    """
    show = progress or silent
    mask, table = sample.inputs.get("attention_mask"), _embeddings(model)
    subject = _subject(sample.raw, mask, class_labels(model, sample), table, seed)
    sizes, estimate_s = _trial(model, sample, subject)
    if announce is not None:
        announce(estimate_s)
    rows: list[LeakageRow] = []
    for group in groups(sizes, _BUDGET_BYTES):
        show(f"running {len(sample)} samples", len(rows) / len(sizes))
        crossings = collect(model, sample, group, _BATCH)
        for unit in group:
            show(f"cut after {model.unit_names[unit]}", len(rows) / len(sizes))
            rows.append(_row(unit, crossings.pop(unit), subject))
    show("done", 1.0)
    return tuple(rows)


def measure_cut(
    unit: int,
    crossing: Crossing,
    raw: Tensor,
    *,
    real: Tensor | None = None,
    labels: Tensor | None = None,
    embeddings: Tensor | None = None,
    seed: int = 0,
) -> LeakageRow:
    """Measure what one cut gives away.

    Args:
        unit: The cut is after this unit.
        crossing: What crosses it.
        raw: Raw inputs, ``[samples, …]``; token ids if they are whole numbers.
        real: Which tokens are no padding; by default all.
        labels: Class ids, ``[samples]``, if gradients are to be attacked.
        embeddings: The model's table of token embeddings.
        seed: Of the halves, the permutations and the networks.
    """
    return _row(unit, crossing, _subject(raw, real, labels, embeddings, seed))


def _subject(
    raw: Tensor,
    real: Tensor | None,
    labels: Tensor | None,
    embeddings: Tensor | None,
    seed: int,
) -> _Subject:
    halves = split_samples(len(raw), seed)
    if raw.is_floating_point():
        return _Subject(raw, centred(distances(raw)), None, labels, None, halves, seed)
    real = torch.ones_like(raw) if real is None else real
    apart = centred(token_distances(raw))
    return _Subject(raw, apart, real.bool(), labels, embeddings, halves, seed)


def _embeddings(model: FoundationModel) -> Tensor | None:
    found = getattr(model.bare.get_input_embeddings(), "weight", None)  # type: ignore[operator]
    return found.detach().float().cpu() if isinstance(found, Tensor) else None


def _row(unit: int, crossing: Crossing, subject: _Subject) -> LeakageRow:
    apart = centred(distances(crossing.smashed))
    found: dict[str, float | None] = {}
    if subject.real is None:
        inversion = invert(crossing.smashed, subject.raw, subject.halves, subject.seed)
    else:
        told = (subject.raw, subject.real, subject.halves, subject.embeddings, subject.seed)
        recovery = recover(crossing.smashed, *told)
        inversion = recovery.inversion
        found = {"token_accuracy": recovery.accuracy, "majority_accuracy": recovery.majority}
    if subject.labels is not None and crossing.gradients is not None:
        found["label_auc_norm"] = label_auc_by_norm(crossing.gradients, subject.labels)
        found["label_auc_cosine"] = label_auc_by_cosine(crossing.gradients, subject.labels)
    return LeakageRow(
        unit=unit,
        samples=len(subject.raw),
        distance_correlation=distance_correlation(subject.raw_distances, apart),
        distance_correlation_null=null_distance_correlation(
            subject.raw_distances, apart, subject.seed
        ),
        inversion_error=inversion.error,
        inversion_error_stderr=inversion.stderr,
        attack=inversion.attack,
        **found,
    )


def _trial(
    model: FoundationModel, sample: DataSample, subject: _Subject
) -> tuple[list[int], float]:
    """Bytes kept of each cut, and about how many seconds everything will take.

    A few samples are run, and one cut's worth of noise is attacked.
    """
    few = _first(sample, min(len(sample), _TRIAL_SAMPLES))
    for _ in range(2):  # The first time, libraries are still waking up.
        begun = time.perf_counter()
        crossings = collect(model, few, range(model.n_units - 1), _BATCH)
        passed_s = time.perf_counter() - begun
        if passed_s > _SLOW_TRIAL_S:
            break
    more = len(sample) / len(few)
    sizes = [int(_kept_bytes(crossing) * more) for crossing in crossings.values()]
    passes = len(list(groups(sizes, _BUDGET_BYTES)))
    attack_s = _attack_s(crossings[0].smashed.shape[1:], subject)
    return sizes, more * passes * passed_s + len(sizes) * attack_s


def _attack_s(shape: Sequence[int], subject: _Subject) -> float:
    """Seconds for one cut: noise takes as long as smashed data of its shape."""
    generator = torch.Generator().manual_seed(subject.seed)
    noise = torch.randn((len(subject.raw), *shape), generator=generator)
    begun = time.perf_counter()
    _row(0, Crossing(noise, noise), subject)
    return time.perf_counter() - begun


def _first(sample: DataSample, few: int) -> DataSample:
    inputs = {name: tensor[:few] for name, tensor in sample.inputs.items()}
    labels = None if sample.labels is None else sample.labels[:few]
    return DataSample(inputs, sample.raw_name, labels)


def _kept_bytes(crossing: Crossing) -> int:
    gradients = 0 if crossing.gradients is None else crossing.gradients.nbytes
    return crossing.smashed.nbytes + gradients
