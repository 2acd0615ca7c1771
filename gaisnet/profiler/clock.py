"""Wall time and process CPU time side by side; on a GPU, time after its queue is empty."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

__all__ = ["Instant", "fixed_threads", "now", "repeat"]


@dataclass(frozen=True)
class Instant:
    """A moment, or the difference of two."""

    wall_s: float
    cpu_s: float
    """User and system time of all threads of this process."""

    def __sub__(self, earlier: Instant) -> Instant:
        return Instant(self.wall_s - earlier.wall_s, self.cpu_s - earlier.cpu_s)


def now(device: torch.device | None = None) -> Instant:
    """The present moment, once everything queued on a CUDA ``device`` is done."""
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return Instant(time.perf_counter(), time.process_time())


def repeat(
    work: Callable[[], object],
    *,
    budget_s: float,
    device: torch.device | None = None,
    most: int = 1000,
) -> list[Instant]:
    """Durations of ``work``, run once to warm up and then until ``budget_s`` is spent.

    At least one run is timed and at most ``most``.
    """
    work()
    durations: list[Instant] = []
    started = now(device)
    while len(durations) < most:
        before = now(device)
        work()
        after = now(device)
        durations.append(after - before)
        if (after - started).wall_s >= budget_s:
            break
    return durations


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Torch on a fixed number of threads for the block, and as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
