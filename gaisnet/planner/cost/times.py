"""Seconds of each unit, forward and backward: measured where there are timings, else a roofline.

All functions return arrays ``[L]`` over the model's units.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

import numpy as np
import numpy.typing as npt

from gaisnet.planner.cost.devices import DeviceCost
from gaisnet.schema.profile import ModelPart, Timing, UnitPart

__all__ = [
    "Direction",
    "FloatArray",
    "roofline_s",
    "scaled_flops",
    "unit_times_s",
    "update_times_s",
]

FloatArray = npt.NDArray[np.float64]
Direction = Literal["forward", "backward"]

BACKWARD_OPERATORS = 2
"""Operator calls of a backward pass per forward call: each matrix product has two gradients."""


def unit_times_s(
    device: DeviceCost, model: ModelPart, direction: Direction, batch_size: int
) -> FloatArray:
    """Seconds ``[L]`` that ``device``, all its own, takes for each unit and ``batch_size``."""
    if device.measured is not None:
        return _measured_s(device.measured, direction, batch_size)
    return roofline_s(device, model.units, direction, batch_size)


def update_times_s(device: DeviceCost, model: ModelPart) -> FloatArray:
    """Seconds ``[L]`` of one optimizer step on each unit's tunable parameters.

    Measured, or the time to read gradients and to read and write weights and optimizer state,
    which is what bounds an element-wise update.
    """
    measured = device.measured
    if measured is not None and any(unit.update_cpu is not None for unit in measured.units):
        seconds = [unit.update_cpu.median_s if unit.update_cpu else 0.0 for unit in measured.units]
        return _kappa(measured) * np.array(seconds)
    if device.memory_bandwidth_bytes_per_s is None:
        return np.zeros(len(model.units))
    moved = [3.0 * unit.gradient_bytes + 2.0 * unit.optimizer_bytes for unit in model.units]
    return np.array(moved) / device.memory_bandwidth_bytes_per_s


def roofline_s(
    device: DeviceCost,
    units: Sequence[UnitPart],
    direction: Direction,
    batch_size: int,
    token_ratio: float = 1.0,
) -> FloatArray:
    """``max(flops / sustained, bytes / bandwidth) + overhead`` per unit, shape ``[L]``.

    The roofline of Williams, Waterman and Patterson (CACM 52(4), 2009). Bytes are the weights
    once, and per sample the activations in, out and saved. ``token_ratio`` scales the sequence
    length against the profile's; bytes of samples grow with it, FLOPs as in ``scaled_flops``.
    """
    flops = batch_size * scaled_flops(units, direction, token_ratio)
    compute_s = flops / device.flops_per_s
    memory_s = np.zeros(len(units))
    if device.memory_bandwidth_bytes_per_s is not None:
        moved = _moved_bytes(units, batch_size * token_ratio)
        memory_s = moved / device.memory_bandwidth_bytes_per_s
    operators = np.array([unit.operators for unit in units], dtype=np.float64)
    calls = 1 if direction == "forward" else BACKWARD_OPERATORS
    overhead_s = calls * operators * device.op_overhead_s + device.unit_overhead_s
    busy_s: FloatArray = np.maximum(compute_s, memory_s) + overhead_s
    return np.where(flops > 0.0, busy_s, 0.0) if direction == "backward" else busy_s


def scaled_flops(
    units: Sequence[UnitPart], direction: Direction, token_ratio: float = 1.0
) -> FloatArray:
    """FLOPs ``[L]`` of one sample with ``token_ratio`` times the profile's sequence length.

    Products of queries with keys and of scores with values grow with its square, all else in
    proportion. The share of attention in the backward pass is taken from the forward pass.
    """
    forward = np.array([unit.forward_flops for unit in units], dtype=np.float64)
    attention = np.array([unit.attention_flops for unit in units], dtype=np.float64)
    scaled: FloatArray = (forward - attention) * token_ratio + attention * token_ratio**2
    if direction == "forward":
        return scaled
    backward = np.array([unit.backward_flops for unit in units], dtype=np.float64)
    growth = np.divide(scaled, forward, out=np.full_like(scaled, token_ratio), where=forward > 0)
    return backward * growth


def _moved_bytes(units: Sequence[UnitPart], samples: float) -> FloatArray:
    outputs = np.array([unit.output_bytes for unit in units], dtype=np.float64)
    inputs = np.concatenate([[0.0], outputs[:-1]])
    saved = np.array([unit.saved_activation_bytes for unit in units], dtype=np.float64)
    weights = np.array([unit.weight_bytes for unit in units], dtype=np.float64)
    moved: FloatArray = weights + samples * (inputs + outputs + saved)
    return moved


def _measured_s(model: ModelPart, direction: Direction, batch_size: int) -> FloatArray:
    """The timings' lines ``a + b · batch`` at ``batch_size``, times kappa."""
    seconds = [_line_s(unit.timings, direction, batch_size) for unit in model.units]
    return _kappa(model) * np.array(seconds)


def _kappa(model: ModelPart) -> float:
    """Whole steps against the sum of their units, the median over batch sizes."""
    return median(check.kappa for check in model.end_to_end) if model.end_to_end else 1.0


def _line_s(timings: Sequence[Timing], direction: Direction, batch_size: int) -> float:
    """Least squares of CPU medians over batch sizes, neither intercept nor slope negative.

    CPU time: contention on the measuring machine touches it less than wall time. With one batch
    size time is taken as proportional to the batch.
    """
    sizes = np.array([timing.batch_size for timing in timings], dtype=np.float64)
    seconds = np.array([_cpu_s(timing, direction) for timing in timings])
    proportional = float(sizes @ seconds / (sizes @ sizes))
    if len(set(sizes)) == 1:
        return proportional * batch_size
    centred = sizes - sizes.mean()
    slope = float(centred @ seconds / (centred @ centred))
    fixed = float(seconds.mean() - slope * sizes.mean())
    if slope < 0.0:
        return float(seconds.mean())
    return proportional * batch_size if fixed < 0.0 else fixed + slope * batch_size


def _cpu_s(timing: Timing, direction: Direction) -> float:
    return (timing.forward_cpu if direction == "forward" else timing.backward_cpu).median_s
