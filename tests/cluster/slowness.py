"""Slows a process down, as a machine does that has too much to do."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

__all__ = ["slowed"]

_PERIOD_S = 0.1
_END_S = 60.0


@contextmanager
def slowed(process: psutil.Process, factor: float) -> Iterator[None]:
    """Have a process go on for one part of the time in so many."""
    done = threading.Event()

    def hold() -> None:
        with suppress(psutil.NoSuchProcess):
            while not done.is_set():
                process.send_signal(signal.SIGSTOP)
                done.wait(_PERIOD_S * (1 - 1 / factor))
                process.send_signal(signal.SIGCONT)
                done.wait(_PERIOD_S / factor)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(_END_S)
