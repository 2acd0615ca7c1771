"""How tunable modules of several holders become one set: FedAvg, FFA-LoRA, FedEx-LoRA, or a
robust average that a few bad contributors cannot move far.

Sums run in float64 in sorted order of the contributors' ids, so neither arrival order nor the
number of equal contributors shows in the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gaisnet.errors import InputError, UsageError
from gaisnet.executor.residual import is_residual, residual_name
from gaisnet.models import FoundationModel, tunable_parameters
from gaisnet.schema.model import LoraSpec

__all__ = [
    "Aggregator",
    "Contribution",
    "FedAvg",
    "FedExLora",
    "FfaLora",
    "Median",
    "ModuleState",
    "TrimmedMean",
    "aggregator_of",
    "register_aggregator",
]

_A, _B = ".lora_A.", ".lora_B."
_FEWEST_TO_TRIM = 3

ModuleState = Mapping[str, Tensor]
"""Tunable modules by the whole model's parameter names."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """Modules of one holder."""

    samples: int
    """The aggregation weight."""
    state: ModuleState


class Aggregator(Protocol):
    """Averages contributions; all of them have the same names and shapes."""

    def prepare(self, model: FoundationModel) -> None:
        """Fit a model for this aggregator before it is cut, e.g. freeze what is not averaged.

        Raises:
            InputError: The model's tunable modules cannot be averaged so.
        """

    def average(self, contributions: Mapping[str, Contribution]) -> dict[str, Tensor]:
        """One set of modules from the contributions, which are given by contributor's id."""


class FedAvg:
    """The mean of every tensor, weighted by samples (McMahan et al., arXiv 1602.05629).

    Over LoRA's A and B this is FedIT (Zhang et al., arXiv 2305.05644).
    """

    def prepare(self, model: FoundationModel) -> None:
        """Any tunable modules will do."""

    def average(self, contributions: Mapping[str, Contribution]) -> dict[str, Tensor]:
        """``Σ n_i x_i / Σ n_i``."""
        ordered = [contributions[source] for source in sorted(contributions)]
        return {name: _mean(ordered, name).to(x.dtype) for name, x in ordered[0].state.items()}


class FfaLora(FedAvg):
    """A stays at its initial value; B alone is tuned and averaged (Sun et al., arXiv 2403.12313).

    With one A for all, the mean of B A is the mean of B times A: averaging is exact.
    """

    def prepare(self, model: FoundationModel) -> None:
        """Freeze every A."""
        _check_lora(model, "ffa_lora")
        for name, parameter in tunable_parameters(model.module).items():
            if _A in name:
                parameter.requires_grad_(False)


class FedExLora(FedAvg):
    """A and B are averaged, and what that leaves out is kept as a residual (Singhal et al.,
    arXiv 2410.09432): ``R = mean(R_i + B_i A_i) - mean(B) mean(A)``, shape ``[out, in]``.

    Stages compute with ``W0 + s (R + B A)``, s being LoRA's scale, so merged weights are the
    mean of the contributors' merged weights. It composes over levels (cluster, edge, cloud).
    """

    def prepare(self, model: FoundationModel) -> None:
        """Only LoRA of linear maps has residuals."""
        _check_lora(model, "fedex_lora")

    def average(self, contributions: Mapping[str, Contribution]) -> dict[str, Tensor]:
        """Means, and the residual beside each A."""
        ordered = [contributions[source] for source in sorted(contributions)]
        if len(ordered) == 1:
            return dict(ordered[0].state)
        plain = [name for name in ordered[0].state if not is_residual(name)]
        averaged = {n: _mean(ordered, n).to(ordered[0].state[n].dtype) for n in plain}
        for name in plain:
            if _A in name:
                averaged[residual_name(name)] = _residual(ordered, averaged, name)
        return averaged


class TrimmedMean(FedAvg):
    """Of every coordinate the mean without its largest and smallest values (Yin et al.,
    arXiv 1803.01498, definition 2). Each contributor counts once, whatever its samples.

    Args:
        trim_fraction: Share of the contributors that is left out at either end; with three or
            more, at least one if it is not 0.
    """

    def __init__(self, trim_fraction: float = 0.2) -> None:
        self._trim_fraction = trim_fraction

    def average(self, contributions: Mapping[str, Contribution]) -> dict[str, Tensor]:
        """Coordinate by coordinate."""
        count = len(contributions)
        trim = math.floor(self._trim_fraction * count)
        if self._trim_fraction and count >= _FEWEST_TO_TRIM:
            trim = max(trim, 1)
        return _by_coordinate(contributions, lambda values: values[trim : count - trim].mean(0))


class Median(FedAvg):
    """Of every coordinate the median (Yin et al., arXiv 1803.01498, definition 1); of an even
    number the mean of the middle two. Each contributor counts once, whatever its samples.
    """

    def average(self, contributions: Mapping[str, Contribution]) -> dict[str, Tensor]:
        """Coordinate by coordinate."""
        low, high = (len(contributions) - 1) // 2, len(contributions) // 2
        return _by_coordinate(contributions, lambda values: (values[low] + values[high]) / 2)


_AGGREGATORS: dict[str, Aggregator] = {
    "fedavg": FedAvg(),
    "ffa_lora": FfaLora(),
    "fedex_lora": FedExLora(),
    "trimmed_mean": TrimmedMean(),
    "median": Median(),
}


def register_aggregator(name: str, aggregator: Aggregator) -> None:
    """Make an aggregator of your own known under a name."""
    _AGGREGATORS[name] = aggregator


def aggregator_of(name: str, *, trim_fraction: float | None = None) -> Aggregator:
    """The aggregator of that name; ``trim_fraction`` is the trimmed mean's.

    Raises:
        UsageError: There is none.
    """
    if name not in _AGGREGATORS:
        raise UsageError(
            f"there is no aggregator {name!r}", hint=f"choose one of {sorted(_AGGREGATORS)}"
        )
    found = _AGGREGATORS[name]
    if trim_fraction is not None and isinstance(found, TrimmedMean):
        return TrimmedMean(trim_fraction)
    return found


def _check_lora(model: FoundationModel, aggregator: str) -> None:
    names = tunable_parameters(model.module)
    matrices = all(p.ndim == 2 for name, p in names.items() if ".lora_" in name)
    embedded = any(".lora_embedding_" in name for name in names)
    if not isinstance(model.tunable, LoraSpec) or not matrices or embedded:
        raise InputError(
            f"the aggregator {aggregator} averages LoRA of linear maps only",
            where="fine_tuning.aggregator",
            hint="tune by lora, or choose the aggregator fedavg",
        )


def _mean(ordered: list[Contribution], name: str) -> Tensor:
    """In float64: n x is exact there, so equal contributions give back x itself."""
    total = torch.zeros_like(ordered[0].state[name], dtype=torch.float64)
    for contribution in ordered:
        total += contribution.samples * contribution.state[name].double()
    return total / sum(contribution.samples for contribution in ordered)


def _by_coordinate(
    contributions: Mapping[str, Contribution], reduce: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """``reduce`` over the contributors' values (first axis), sorted in each coordinate."""
    states = [contributions[source].state for source in sorted(contributions)]
    return {
        name: reduce(torch.stack([s[name].double() for s in states]).sort(0).values).to(x.dtype)
        for name, x in states[0].items()
    }


def _residual(ordered: list[Contribution], averaged: ModuleState, name_of_a: str) -> Tensor:
    name_of_b, name_of_r = name_of_a.replace(_A, _B), residual_name(name_of_a)
    total = torch.zeros((), dtype=torch.float64)
    for contribution in ordered:
        state = contribution.state
        merged = state[name_of_b].double() @ state[name_of_a].double()
        if name_of_r in state:
            merged = merged + state[name_of_r].double()
        total = total + contribution.samples * merged
    mean = total / sum(contribution.samples for contribution in ordered)
    kept = averaged[name_of_b].double() @ averaged[name_of_a].double()
    return (mean - kept).to(averaged[name_of_a].dtype)
