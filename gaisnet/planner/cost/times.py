"""Seconds of each unit, forward and backward, on a device of the fleet.

The model of time is that of ``gaisnet.extrapolation``; here stands only which way is taken for a
device. All functions return arrays ``[L]`` over the model's units.
"""

from __future__ import annotations

import numpy as np

from gaisnet.extrapolation import (
    Direction,
    FloatArray,
    modelled_s,
    modelled_update_s,
    scaled_flops,
    timed_s,
    timed_update_s,
)
from gaisnet.planner.cost.devices import DeviceCost
from gaisnet.schema.profile import ModelPart

__all__ = ["prefill_times_s", "unit_times_s", "update_times_s"]


def unit_times_s(
    device: DeviceCost, model: ModelPart, direction: Direction, batch_size: int
) -> FloatArray:
    """Seconds ``[L]`` that ``device``, all its own, takes for each unit and ``batch_size``.

    By the timings of the model that were taken there or carried over to it; modelled for a
    device of which only figures are known.
    """
    if device.timed is not None:
        return timed_s(device.timed, direction, batch_size)
    return modelled_s(device.speeds, model.units, direction, batch_size)


def update_times_s(device: DeviceCost, model: ModelPart) -> FloatArray:
    """Seconds ``[L]`` of one optimizer step on each unit's tunable parameters."""
    timed = None if device.timed is None else timed_update_s(device.timed)
    return modelled_update_s(device.speeds, model.units) if timed is None else timed


def prefill_times_s(
    device: DeviceCost, model: ModelPart, batch_size: int, token_ratio: float
) -> FloatArray:
    """Seconds ``[L]`` of a forward pass with ``token_ratio`` times the profile's tokens.

    Timings are scaled by the FLOPs' growth.
    """
    if device.timed is None:
        return modelled_s(device.speeds, model.units, "forward", batch_size, token_ratio)
    flops = scaled_flops(model.units, "forward")
    grown = scaled_flops(model.units, "forward", token_ratio)
    growth = np.divide(grown, flops, out=np.full_like(flops, token_ratio), where=flops > 0)
    seconds: FloatArray = timed_s(device.timed, "forward", batch_size) * growth
    return seconds
