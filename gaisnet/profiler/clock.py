"""Wall time and processor time side by side, on a CPU and on a GPU.

On a CPU the processor time is that of this process, user and system, over all its threads: other
programmes touch it far less than wall time. On a GPU both are the time between events on the
stream, so that nothing has to wait while a pass is being timed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from gaisnet.heap import freed_memory_kept

__all__ = ["Instant", "Ticker", "fixed_threads", "repeat", "steady_s"]

_BURST_S, _MOST_IN_A_BURST = 2e-3, 1000
"""A GPU that has nothing to do waits for the first operator to reach it, and is told of the next
ones while it works. What takes less time than that by itself is run so long in a row."""
_LEAST_S = 1e-6
"""Events are told apart no finer."""


@dataclass(frozen=True)
class Instant:
    """A moment, or the difference of two."""

    wall_s: float
    cpu_s: float
    """Processor time."""

    def __sub__(self, earlier: Instant) -> Instant:
        return Instant(self.wall_s - earlier.wall_s, self.cpu_s - earlier.cpu_s)

    def __truediv__(self, times: int) -> Instant:
        return Instant(self.wall_s / times, self.cpu_s / times)


class Ticker:
    """Takes moments and tells the times between them.

    Args:
        device: Where the work runs; the CPU if it is left out.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self._marks: list[Any] = []

    def mark(self) -> None:
        """Take the present moment; on a GPU, that at which the work queued so far is done."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            event.record()
            self._marks.append(event)
        else:
            self._marks.append(Instant(time.perf_counter(), time.process_time()))

    def intervals(self) -> list[Instant]:
        """Times between each moment and the next; waits for a GPU to reach the last one."""
        if self._device.type != "cuda":
            return [after - before for before, after in pairwise(self._marks)]
        torch.cuda.synchronize(self._device)
        seconds = (a.elapsed_time(b) / 1000 for a, b in pairwise(self._marks))
        return [Instant(duration, duration) for duration in seconds]


def repeat(
    work: Callable[[], object],
    *,
    budget_s: float,
    device: torch.device | None = None,
    least: int = 1,
    most: int = 1000,
) -> list[Instant]:
    """Durations of ``work``, run once to warm up and then until ``budget_s`` is spent.

    At least ``least`` runs are timed and at most ``most``; on a GPU, a run is the mean of a burst.
    """
    work()
    times = _times_in_a_burst(work, device)
    durations: list[Instant] = []
    started = time.perf_counter()
    while len(durations) < most:
        durations.append(_burst(work, device, times) / times)
        if len(durations) >= least and time.perf_counter() - started >= budget_s:
            break
    return durations


def _times_in_a_burst(work: Callable[[], object], device: torch.device | None) -> int:
    if device is None or device.type != "cuda":
        return 1
    once_s = max(_LEAST_S, _burst(work, device, 1).wall_s)
    return min(_MOST_IN_A_BURST, math.ceil(_BURST_S / once_s))


def _burst(work: Callable[[], object], device: torch.device | None, times: int) -> Instant:
    ticker = Ticker(device)
    ticker.mark()
    for _ in range(times):
        work()
    ticker.mark()
    return ticker.intervals()[0]


def steady_s(runs: Sequence[Instant]) -> float:
    """What the work takes on a device that has nothing else to do: the first quartile of runs.

    Of clock and processor time the smaller: with one thread the second hardly notices other
    programmes, with several it counts them all. What disturbs a run only ever adds to it.
    """
    seconds = sorted(min(run.wall_s, run.cpu_s) for run in runs)
    return seconds[len(seconds) // 4]


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Torch on a fixed number of threads for the block, and as it was afterwards; freed memory
    stays with the process, as it does in a run."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with freed_memory_kept():
            yield
    finally:
        torch.set_num_threads(before)
