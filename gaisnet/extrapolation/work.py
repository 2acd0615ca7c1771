"""What the passes of all units do, as arrays ``[L]`` over the model's units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from gaisnet.schema.profile import PassWork, UnitPart

__all__ = [
    "DIRECTIONS",
    "KINDS",
    "PRODUCT",
    "UPDATE",
    "Activity",
    "Direction",
    "FloatArray",
    "Work",
    "scaled_flops",
    "work_of",
]

FloatArray = npt.NDArray[np.float64]
Direction = Literal["forward", "backward"]
Activity = Literal["forward", "backward", "update"]
DIRECTIONS: tuple[Direction, ...] = ("forward", "backward")

PRODUCT, UPDATE = "product", "update"
KINDS = ("move", "norm", "gelu", "silu", "tanh", "softmax")
"""Kinds of element-wise operators. ``product`` is apart, since its bytes only bound it, and so is
``update``: what AdamW does between passes, on tensors of a weight's size."""

_BACKWARD_OPERATORS = 2
"""Operator calls of a backward pass per forward call, where they were not counted: each matrix
product has two gradients."""
_ATTENTION_GRADIENTS = 2
"""Each of attention's two products has two gradients, for which it is multiplied twice."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One pass of each unit, for one sample of the profile's length where it says sample."""

    happens: npt.NDArray[np.bool_]
    """Whether there is such a pass at all."""
    linear_flops: FloatArray
    """FLOPs of one sample but attention's."""
    attention_flops: FloatArray
    operators: FloatArray
    sample_bytes: Mapping[str, FloatArray]
    """By kind of operator, per sample."""
    fixed_bytes: Mapping[str, FloatArray]


def work_of(units: Sequence[UnitPart], direction: Direction) -> Work:
    """The work of each unit's pass; estimated from bytes held where a profile did not count it."""
    flops, attention = _flops(units, direction)
    passes = [_counted(units, index, direction) for index in range(len(units))]
    return Work(
        happens=np.array([bool(flops[i]) or work.operators > 0 for i, work in enumerate(passes)]),
        linear_flops=flops - attention,
        attention_flops=attention,
        operators=_array([work.operators for work in passes]),
        sample_bytes=_by_kind([work.sample_bytes for work in passes]),
        fixed_bytes=_by_kind([work.fixed_bytes for work in passes]),
    )


def scaled_flops(
    units: Sequence[UnitPart], direction: Direction, token_ratio: float = 1.0
) -> FloatArray:
    """FLOPs ``[L]`` of one sample with ``token_ratio`` times the profile's sequence length.

    Products of queries with keys and of scores with values grow with its square, all else in
    proportion.
    """
    flops, attention = _flops(units, direction)
    scaled: FloatArray = (flops - attention) * token_ratio + attention * token_ratio**2
    return scaled


def _flops(units: Sequence[UnitPart], direction: Direction) -> tuple[FloatArray, FloatArray]:
    """All FLOPs of one sample, and attention's among them."""
    attention = _array([unit.attention_flops for unit in units])
    if direction == "forward":
        return _array([unit.forward_flops for unit in units]), attention
    backward = _array([unit.backward_flops for unit in units])
    return backward, np.minimum(_ATTENTION_GRADIENTS * attention, backward)


def _counted(units: Sequence[UnitPart], index: int, direction: Direction) -> PassWork:
    unit = units[index]
    counted = unit.forward_work if direction == "forward" else unit.backward_work
    return counted or _estimated(units, index, direction)


def _estimated(units: Sequence[UnitPart], index: int, direction: Direction) -> PassWork:
    """Weights are read once, and what enters, leaves and is kept is moved once."""
    unit = units[index]
    if direction == "backward" and not unit.backward_flops:
        return PassWork(operators=0, sample_bytes={}, fixed_bytes={})
    entering = units[index - 1].output_bytes if index else 0
    return PassWork(
        operators=unit.operators * (_BACKWARD_OPERATORS if direction == "backward" else 1),
        sample_bytes={"move": entering + unit.output_bytes + unit.saved_activation_bytes},
        fixed_bytes={PRODUCT: unit.weight_bytes},
    )


def _by_kind(counts: Sequence[Mapping[str, int]]) -> dict[str, FloatArray]:
    kinds = sorted({kind for count in counts for kind in count})
    return {kind: _array([count.get(kind, 0) for count in counts]) for kind in kinds}


def _array(values: Sequence[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)
