"""Bytes that stages take on a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gaisnet.schema.job import OptimizerSpec
from gaisnet.schema.profile import UnitPart

__all__ = [
    "MemoryNeed",
    "Residence",
    "cached_tokens",
    "device_memory",
    "frozen_bytes",
    "unit_bytes",
]


@dataclass(frozen=True, kw_only=True)
class Residence:
    """Units ``first_unit .. last_unit`` as one stage holds them for one cluster."""

    first_unit: int
    last_unit: int
    samples_in_flight: int
    """Samples whose activations are kept at once: micro-batch size × micro-batches in flight.
    All micro-batches of a step are in flight before the first gradient returns."""
    microbatch_size: int
    """Samples of one pass: what the transient working memory is for."""
    training: bool = True
    """Without it the stage only answers: no gradients, optimizer state or saved activations."""


@dataclass(frozen=True, kw_only=True)
class MemoryNeed:
    """Bytes on one device."""

    weight_bytes: int
    training_bytes: int
    """Gradients, optimizer state, saved activations and transient working memory."""
    cache_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.weight_bytes + self.training_bytes + self.cache_bytes


def cached_tokens(unit: UnitPart, context_tokens: int) -> int:
    """Tokens of a context that the unit's key-value cache keeps: a sliding window's at most."""
    window = unit.kv_window_tokens
    return context_tokens if window is None else min(context_tokens, window)


def device_memory(
    units: Sequence[UnitPart],
    optimizer: OptimizerSpec,
    residences: Iterable[Residence],
    cache_bytes: int = 0,
) -> MemoryNeed:
    """Memory of a device that holds ``residences``.

    Frozen weights of a unit count once, however many stages hold it; tunable weights, their
    gradients and optimizer state, and saved activations count for each stage. Of transient
    working memory the highest counts once: passes on one device take turns.
    """
    held = list(residences)
    spans = [range(r.first_unit, r.last_unit + 1) for r in held]
    frozen = {unit for span in spans for unit in span}
    weights = sum(frozen_bytes(units[unit]) for unit in frozen)
    training, working = 0, 0
    for residence, span in zip(held, spans, strict=True):
        for unit in (units[index] for index in span):
            weights += _tunable_bytes(unit)
            working = max(working, residence.microbatch_size * unit.working_bytes)
            if residence.training:
                training += _kept_bytes(unit, optimizer, residence.samples_in_flight)
    return MemoryNeed(
        weight_bytes=weights, training_bytes=training + working, cache_bytes=cache_bytes
    )


def unit_bytes(unit: UnitPart, optimizer: OptimizerSpec, samples_in_flight: int) -> int:
    """The additive part of a stage's memory: all of a unit but transient working memory."""
    return unit.weight_bytes + _kept_bytes(unit, optimizer, samples_in_flight)


def _optimizer_bytes(unit: UnitPart, optimizer: OptimizerSpec) -> int:
    """The profile's figure; momentum adds one value per gradient to plain SGD."""
    if optimizer.kind == "sgd":
        return unit.gradient_bytes if optimizer.momentum > 0.0 else 0
    return unit.optimizer_bytes


def _kept_bytes(unit: UnitPart, optimizer: OptimizerSpec, samples_in_flight: int) -> int:
    return (
        unit.gradient_bytes
        + _optimizer_bytes(unit, optimizer)
        + samples_in_flight * unit.saved_activation_bytes
    )


def _tunable_bytes(unit: UnitPart) -> int:
    """Tunable weights have the size of their gradients."""
    return min(unit.weight_bytes, unit.gradient_bytes)


def frozen_bytes(unit: UnitPart) -> int:
    """Weights that are not tuned: stages of several clusters on one device share them."""
    return unit.weight_bytes - _tunable_bytes(unit)
