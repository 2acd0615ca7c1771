"""The model of time: products, attention, bytes and calls, added up per unit and pass.

Operators of a transformer run one after the other, so their times add. Products are bound by the
roofline (Williams, Waterman, Patterson, CACM 52(4), 2009): by the device's speed, or by its
memory where few rows meet large weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaisnet.extrapolation.speeds import Speeds
from gaisnet.extrapolation.work import PRODUCT, UPDATE, Direction, FloatArray, Work, work_of
from gaisnet.schema.profile import UnitPart

__all__ = ["ADAMW_PASSES", "Direction", "FloatArray", "modelled_s", "modelled_update_s"]

_ADAMW_CALLS, _SGD_CALLS = 12, 1
"""Operator calls of an update per parameter (``torch.optim.adamw._single_tensor_adamw``)."""
ADAMW_PASSES, _SGD_PASSES = 20, 3
"""How often those calls read or write a number, counted in the size of the parameter."""


def modelled_s(
    speeds: Speeds,
    units: Sequence[UnitPart],
    direction: Direction,
    batch_size: int,
    token_ratio: float = 1.0,
) -> FloatArray:
    """Seconds ``[L]`` of each unit's pass, all the device's time given to it.

    ``max(linear FLOPs / speed, their bytes / memory) + attention FLOPs / attention's speed +
    sum over kinds (bytes / traffic of the kind) + calls x time of a call + fixed time``

    Args:
        speeds: The device.
        units: The model's units.
        direction: ``forward`` or ``backward``.
        batch_size: Samples.
        token_ratio: Sequence length over the profile's: FLOPs of linear maps and bytes grow with
            it, attention with its square.
    """
    return _seconds(speeds, work_of(units, direction), direction, batch_size, token_ratio)


def _seconds(
    speeds: Speeds, work: Work, direction: Direction, batch_size: int, token_ratio: float
) -> FloatArray:
    samples = batch_size * token_ratio
    moved = {
        kind: samples * work.sample_bytes.get(kind, 0.0) + work.fixed_bytes.get(kind, 0.0)
        for kind in {*work.sample_bytes, *work.fixed_bytes}
    }
    attention_speed = (
        speeds.attention_forward_flops_per_s
        if direction == "forward"
        else speeds.attention_backward_flops_per_s
    )
    products = np.maximum(
        samples * work.linear_flops / speeds.flops_per_s,
        moved.pop(PRODUCT, 0.0) / speeds.memory_bytes_per_s,
    )
    attention = samples * token_ratio * work.attention_flops / attention_speed
    total = products + attention + work.operators * speeds.operator_s + speeds.unit_s
    for kind, n_bytes in sorted(moved.items()):
        total = total + n_bytes / speeds.traffic(kind)
    return np.where(work.happens, total, 0.0)


def modelled_update_s(speeds: Speeds, units: Sequence[UnitPart]) -> FloatArray:
    """Seconds ``[L]`` of one optimizer step on each unit's tunable parameters.

    Element-wise operators over gradients, weights and state, one parameter after the other, at
    the device's speed for just this; where it is not known, as fast as copies or as main memory,
    whichever is slower. A unit whose optimizer keeps state is taken to be under AdamW.
    """
    adamw = np.array([unit.optimizer_bytes > 0 for unit in units])
    gradients = np.array([unit.gradient_bytes for unit in units], dtype=np.float64)
    tensors = np.array([unit.tunable_tensors for unit in units], dtype=np.float64)
    usual = min(speeds.memory_bytes_per_s, speeds.traffic("move"))
    moved_s = gradients / speeds.traffic_bytes_per_s.get(UPDATE, usual)
    passes = np.where(adamw, ADAMW_PASSES, _SGD_PASSES)
    calls = np.where(adamw, _ADAMW_CALLS, _SGD_CALLS)
    seconds: FloatArray = passes * moved_s + calls * tensors * speeds.operator_s
    return seconds
