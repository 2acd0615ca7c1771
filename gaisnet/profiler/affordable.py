"""Whether a model can be timed on this device: estimated before anything is allocated."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gaisnet.extrapolation import extrapolate, step_s
from gaisnet.profiler.clock import fixed_threads
from gaisnet.profiler.device_memory import memory_limit
from gaisnet.profiler.microbench import gemm_curve
from gaisnet.profiler.timing import LEAST_STEPS
from gaisnet.schema.profile import DevicePart, ModelPart

__all__ = ["obstacle_to_timing", "timing_estimate_s", "training_bytes"]

_USABLE_SHARE = 0.9
_PRODUCTS_S = 0.5


def obstacle_to_timing(
    part: ModelPart,
    batch_sizes: Sequence[int],
    *,
    device: str,
    threads: int,
    figures: DevicePart | None,
    budget_s: float,
) -> str | None:
    """Why a model cannot be timed here, if so: it takes too much memory, or too long.

    Args:
        part: What was counted.
        batch_sizes: Batch sizes to be timed.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads.
        figures: What the device can do; without it a few products are timed.
        budget_s: Most seconds that timing may take by the estimate.
    """
    needed, limit = training_bytes(part, max(batch_sizes)), _memory_bytes(device)
    if needed > _USABLE_SHARE * limit:
        return f"it needs {needed} bytes of this device's {limit}"
    expected_s = timing_estimate_s(part, batch_sizes, device, threads, figures)
    if expected_s > budget_s:
        return f"timing it would take about {expected_s:.0f} s, and {budget_s:.0f} s are allowed"
    return None


def training_bytes(part: ModelPart, batch_size: int) -> int:
    """Most memory that training the whole model needs, by the profile's own figures."""
    fixed = sum(u.weight_bytes + u.gradient_bytes + u.optimizer_bytes for u in part.units)
    saved = sum(unit.saved_activation_bytes for unit in part.units)
    return fixed + batch_size * (saved + max(unit.working_bytes for unit in part.units))


def timing_estimate_s(
    part: ModelPart,
    batch_sizes: Sequence[int],
    device: str,
    threads: int,
    figures: DevicePart | None,
) -> float:
    """Seconds of the fewest steps that are timed, by the model of time that extrapolates; without
    figures of the device by FLOPs and the best product's speed. Arguments as above."""
    if figures is not None:
        made = extrapolate(part, figures, batch_sizes=batch_sizes)
        return LEAST_STEPS * sum(step_s(made, size) for size in batch_sizes)
    flops = sum(unit.forward_flops + unit.backward_flops for unit in part.units)
    return LEAST_STEPS * sum(batch_sizes) * flops / _flops_per_s(device, threads)


def _flops_per_s(device: str, threads: int) -> float:
    with fixed_threads(threads):
        points = gemm_curve(torch.device(device), torch.float32, _PRODUCTS_S)
    return max(point.flops_per_s for point in points)


def _memory_bytes(device: str) -> int:
    if torch.device(device).type == "cuda":
        return int(torch.cuda.mem_get_info()[1])
    return memory_limit().limit_bytes
