"""What crosses the cuts when the sample is run through the model, forward and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gaisnet.models import FoundationModel
from gaisnet.models.inputs import on_device
from gaisnet.profiler.leakage.sample import DataSample
from gaisnet.profiler.passage import Listener, run_pass

__all__ = ["Crossing", "class_labels", "collect", "groups"]


@dataclass(frozen=True)
class Crossing:
    """What crosses one cut, of all samples."""

    smashed: Tensor
    """``[samples, …]``, float32, on the CPU."""
    gradients: Tensor | None
    """Of each sample's own loss, of the same shape; ``None`` if no gradient crosses."""


def class_labels(model: FoundationModel, sample: DataSample) -> Tensor | None:
    """Class ids ``[samples]``, if the task is to tell at least two classes that are there."""
    labels = sample.labels
    if labels is None or not model.task.endswith("_classification"):
        return None
    if labels.dim() != 1 or labels.is_floating_point() or len(torch.unique(labels)) < 2:
        return None
    return labels


def collect(
    model: FoundationModel, sample: DataSample, units: Sequence[int], batch_size: int
) -> dict[int, Crossing]:
    """Run the sample and keep what crosses the cuts after some units.

    Gradients are taken only where the labels are classes. The model's own are dropped.

    Args:
        model: With its tunable modules attached.
        sample: At least one sample.
        units: After which of them.
        batch_size: Samples in a pass.
    """
    backward = class_labels(model, sample) is not None
    keeper = _Keeper(units)
    for start in range(0, len(sample), batch_size):
        batch = _batch(model, sample, slice(start, start + batch_size))
        run_pass(model, batch, keeper, backward=backward)
        keeper.end_batch()
    for parameter in model.bare.parameters():
        parameter.grad = None
    return {unit: keeper.crossing(unit) for unit in units}


def groups(bytes_per_cut: Sequence[int], budget_bytes: int) -> Iterator[list[int]]:
    """Cuts in order, as many together as the budget holds, but at least one."""
    group: list[int] = []
    for unit, size in enumerate(bytes_per_cut):
        if group and sum(bytes_per_cut[kept] for kept in group) + size > budget_bytes:
            yield group
            group = []
        group.append(unit)
    if group:
        yield group


def _batch(model: FoundationModel, sample: DataSample, rows: slice) -> dict[str, Tensor]:
    batch = {name: tensor[rows] for name, tensor in sample.inputs.items()}
    dtype = next(p.dtype for p in model.bare.parameters() if p.is_floating_point())
    batch = {n: t.to(dtype) if t.is_floating_point() else t for n, t in batch.items()}
    if class_labels(model, sample) is not None:
        assert sample.labels is not None
        batch["labels"] = sample.labels[rows]
    else:
        # No gradient is asked for, so any labels will do.
        size = len(batch[sample.raw_name])
        length = batch[sample.raw_name].shape[1] if sample.raw_name == "input_ids" else None
        batch["labels"] = model.example_inputs(size, length)["labels"]
    return on_device(batch, model.device)


class _Keeper(Listener):
    def __init__(self, units: Sequence[int]) -> None:
        self._hidden: dict[int, list[Tensor]] = {unit: [] for unit in units}
        self._gradients: dict[int, list[Tensor]] = {unit: [] for unit in units}
        self._fresh: dict[int, Tensor] = {}

    def cut(self, unit: int, hidden: Tensor) -> None:
        if unit not in self._hidden:
            return
        self._hidden[unit].append(hidden.detach().float().cpu())
        if hidden.requires_grad:
            hidden.register_hook(partial(self._back, unit))  # type: ignore[no-untyped-call]

    def end_batch(self) -> None:
        for unit, gradient in self._fresh.items():
            self._gradients[unit].append(gradient)
        self._fresh = {}

    def crossing(self, unit: int) -> Crossing:
        gradients = self._gradients.pop(unit)
        smashed = torch.cat(self._hidden.pop(unit))
        return Crossing(smashed, torch.cat(gradients) if gradients else None)

    def _back(self, unit: int, gradient: Tensor) -> None:
        # The loss is the batch's mean; times the batch it is the sum of each sample's own.
        self._fresh[unit] = (gradient.detach() * gradient.shape[0]).float().cpu()
