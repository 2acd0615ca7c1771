"""Slows a process down, as a machine does that has too much to do.

Run with a process's id and a factor, it says that it has begun, and goes on until the process ends.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

__all__ = ["slow_down", "slowed"]

_ROOT = Path(__file__).parents[2]
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


def slow_down(process: int, factor: float, *, apart: bool = False) -> subprocess.Popen[bytes]:
    """Have a process, which may be this one, be slow until it ends; returns when it is.

    Args:
        process: Its id.
        factor: It goes on for one part of the time in so many.
        apart: Whether this process may end before it. Ray ends the children of a process with it,
            and one that is stopped at that moment would stay so.
    """
    words = [sys.executable, "-m", "tests.cluster.slowness", str(process), str(factor)]
    words = ["setsid", "--fork", *words] if apart else words
    begun = subprocess.Popen(words, stdout=subprocess.PIPE, cwd=_ROOT)
    assert begun.stdout is not None
    begun.stdout.readline()
    return begun


if __name__ == "__main__":
    meant = psutil.Process(int(sys.argv[1]))
    with slowed(meant, float(sys.argv[2])):
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        while meant.is_running() and meant.status() != psutil.STATUS_ZOMBIE:
            time.sleep(_PERIOD_S)
