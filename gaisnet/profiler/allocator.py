"""What torch's own allocators say that a training step used: the check on every prediction.

On a GPU the caching allocator keeps the statistics itself. The CPU's allocator keeps none, so its
calls are recorded by torch's profiler, which slows the step down but not what it allocates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from gaisnet.profiler.storages import StorageTracker
from gaisnet.schema.profile import MeasuredPeak

__all__ = ["allocated_beyond", "measured_peak"]


def measured_peak(
    step: Callable[[], object], held: Iterable[Tensor], device: torch.device
) -> MeasuredPeak:
    """What is held all the time, and the most that a step allocates beside it.

    Args:
        step: A training step, run once; run before, so that the optimizer's state is there.
        held: Parameters, buffers, the optimizer's state and the batch.
        device: Where they are.
    """
    tracker = StorageTracker()
    tracker.add(held)
    return MeasuredPeak(
        bytes=tracker.live_bytes + allocated_beyond(step, device),
        source="cuda-allocator" if device.type == "cuda" else "cpu-allocator",
    )


def allocated_beyond(work: Callable[[], object], device: torch.device) -> int:
    """Most bytes that the device's allocator had handed out at once beyond those before ``work``.

    Not in it: what libraries keep from their first use on (the workspaces of cuBLAS, if ``work``
    ran before), and what CUDA's caching allocator holds back without handing it out.
    """
    return _on_cuda(work, device) if device.type == "cuda" else _on_cpu(work)


def _on_cuda(work: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    torch.cuda.synchronize(device)
    return max(0, torch.cuda.max_memory_allocated(device) - before)


def _on_cpu(work: Callable[[], object]) -> int:
    # There is only one cycle; without acc_events torch 2.11 warns that others would be lost.
    with torch.profiler.profile(profile_memory=True, acc_events=True) as record:
        work()
    assert record.profiler is not None
    live = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak
