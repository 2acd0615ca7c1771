"""How fast a device does each kind of work, measured or assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from gaisnet.errors import InputError
from gaisnet.extrapolation.work import KINDS
from gaisnet.schema.profile import AttentionEfficiency, DevicePart

__all__ = ["Speeds", "speeds_of"]

_FUNCTIONS = set(KINDS) - {"move"}
_ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_USUAL_ATTENTION = AttentionEfficiency(forward=0.6, backward=0.6)
_FLOPS_PER_BYTE = {
    "move": 0.0,
    "norm": 5.0,
    "gelu": 12.0,
    "silu": 10.0,
    "tanh": 30.0,
    "softmax": 12.0,
}
"""Multiplications and additions in whose time a processor moves one byte through an operator of
the kind: sustained FLOP/s over bytes per second as measured on one core with AVX2. Stands in
where a device's own speeds are not known; a GPU's are bounded by its memory sooner."""


@dataclass(frozen=True, kw_only=True)
class Speeds:
    """A device's speeds for one type of number."""

    flops_per_s: float
    """Sustained, in a transformer's products."""
    attention_forward_flops_per_s: float
    attention_backward_flops_per_s: float
    memory_bytes_per_s: float = math.inf
    """Of main memory: bounds products, and bounds the optimizer's update."""
    traffic_bytes_per_s: Mapping[str, float] = field(default_factory=dict)
    """Of element-wise operators by kind; others are as fast as ``move``, or take no time."""
    operator_s: float = 0.0
    """Fixed time of one operator call."""
    unit_s: float = 0.0
    """Fixed time of one pass of one unit."""

    def slowed(self, factor: float) -> Speeds:
        """Of a device that takes ``factor`` times as long for everything."""
        return Speeds(
            flops_per_s=self.flops_per_s / factor,
            attention_forward_flops_per_s=self.attention_forward_flops_per_s / factor,
            attention_backward_flops_per_s=self.attention_backward_flops_per_s / factor,
            memory_bytes_per_s=self.memory_bytes_per_s / factor,
            traffic_bytes_per_s={k: v / factor for k, v in self.traffic_bytes_per_s.items()},
            operator_s=self.operator_s * factor,
            unit_s=self.unit_s * factor,
        )

    def traffic(self, kind: str) -> float:
        """Bytes per second of operators of a kind."""
        return self.traffic_bytes_per_s.get(kind, self.traffic_bytes_per_s.get("move", math.inf))


def speeds_of(part: DevicePart, dtype: str) -> Speeds:
    """The speeds of a device in ``dtype``, or in float32 (or the slowest known) if that is unknown.

    Raises:
        InputError: The device part has no FLOP/s at all.
    """
    known = part.sustained_flops_per_s or part.peak_flops_per_s
    if not known:
        raise InputError(f"device {part.name} has neither sustained nor peak FLOP/s")
    flops_per_s = known.get(dtype, known.get("float32", min(known.values())))
    attention = part.attention_efficiency or _USUAL_ATTENTION
    return Speeds(
        flops_per_s=flops_per_s,
        attention_forward_flops_per_s=attention.forward * flops_per_s,
        attention_backward_flops_per_s=attention.backward * flops_per_s,
        memory_bytes_per_s=part.memory_bandwidth_bytes_per_s,
        traffic_bytes_per_s=_traffic(part, dtype),
        operator_s=part.op_overhead_s,
    )


def _traffic(part: DevicePart, dtype: str) -> dict[str, float]:
    """Bytes per second by kind. Functions take as long per number in any type, so that fewer
    bytes of a narrower type pass in the same time; moving is bound by bytes."""
    narrowing = _ITEM_BYTES.get(dtype, 4) / 4
    found = {kind: _assumed(part, kind) for kind in KINDS} | part.traffic_bytes_per_s
    return {kind: v * (narrowing if kind in _FUNCTIONS else 1.0) for kind, v in found.items()}


def _assumed(part: DevicePart, kind: str) -> float:
    moved = part.traffic_bytes_per_s.get("move", part.memory_bandwidth_bytes_per_s)
    computed = _FLOPS_PER_BYTE[kind]
    flops_per_s = part.sustained_flops_per_s.get("float32")
    return min(moved, flops_per_s / computed) if flops_per_s and computed else moved
