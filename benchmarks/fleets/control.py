"""How fast this machine itself is at the time: other tenants of its host come and go.

A profile that is taken in a good minute promises too much for a bad one. So a small piece of work,
always the same, is timed every few seconds beside whatever is measured; it says by how much.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from gaisnet.heap import freed_memory_kept

__all__ = ["controlled"]

_ROWS, _WIDTH = 1576, 384


@contextmanager
def controlled(*, every_s: float = 2.0) -> Iterator[list[float]]:
    """CPU seconds of the piece of work, a figure at such intervals while the block runs."""
    taken: list[float] = []
    over = threading.Event()
    thread = threading.Thread(target=_keep_timing, args=(taken, every_s, over), daemon=True)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


def _keep_timing(taken: list[float], every_s: float, over: threading.Event) -> None:
    torch.set_num_threads(1)  # torch keeps it per thread
    inputs, weights = torch.ones(_ROWS, _WIDTH), torch.ones(_WIDTH, 4 * _WIDTH)
    with freed_memory_kept():
        _work(inputs, weights)
        while not over.wait(every_s):
            taken.append(statistics.median(_timed(inputs, weights) for _ in range(3)))


def _timed(inputs: Tensor, weights: Tensor) -> float:
    started = time.thread_time()
    _work(inputs, weights)
    return time.thread_time() - started


def _work(inputs: Tensor, weights: Tensor) -> None:
    """Of a transformer's block: half of its larger products, and what comes between."""
    torch.softmax(torch.nn.functional.gelu(inputs @ weights), -1)
