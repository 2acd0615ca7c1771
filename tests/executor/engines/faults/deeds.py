"""Harm that is really done: to a process, to its connections, to a disk."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from tests.cluster.slowness import slow_down
from tests.executor.engines.faults.strike import Strike

__all__ = ["cut_off", "do"]

Ports = Callable[[], frozenset[int]]

_FACTORS = {True: 20.0, False: 10.0}
"""A slow process goes on for one part of the time in so many: a device, or the driver."""
_WORK_S = {"joining": 1.0}
"""CPU seconds that a slow device's call takes beside its own: a model is loaded for longer."""
_WAIT_S = 60.0
_LOOK_EVERY_S = 0.02


def do(strike: Strike) -> None:
    """Do it, to whom it is meant for."""
    process = strike.process or os.getpid()
    if strike.fault == "kill":
        os.kill(process, signal.SIGKILL)
    elif strike.fault == "freeze":
        os.kill(process, signal.SIGSTOP)
        if strike.lasts_s:
            _wake_later(process, strike.lasts_s)
    elif strike.fault == "slow":
        is_own = strike.process is None
        slow_down(process, _FACTORS[is_own], apart=not is_own)
        if is_own:
            _work(_WORK_S.get(strike.phase, 0.3))
    elif strike.fault == "disconnect":
        _disconnect(strike)
    elif strike.fault == "full":
        _fill(strike)


def cut_off(ports: Ports | None = None) -> None:
    """From now on this process hears nothing over TCP, and what it says gets nowhere.

    Its sockets stay open, so that nobody is told; they are only out of its reach. This needs no
    rights, and holds for connections that it makes later, too.

    Args:
        ports: Tells those of whom it is cut off from; without it, from everybody.
    """
    held: list[socket.socket] = []
    _take_away(ports and ports(), held)

    def go_on() -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            _take_away(ports and ports(), held)

    threading.Thread(target=go_on, daemon=True).start()


def _fill(strike: Strike) -> None:
    """Leave no room on a folder's disk; or have a process be refused all room."""
    if strike.process is not None:
        _, most = resource.prlimit(strike.process, resource.RLIMIT_FSIZE)
        resource.prlimit(strike.process, resource.RLIMIT_FSIZE, (0, most))
        return
    with suppress(OSError), (Path(strike.path) / "filler").open("ab", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def _disconnect(strike: Strike) -> None:
    if strike.process is None:
        cut_off()
        return
    os.kill(strike.process, signal.SIGUSR1)  # it can only do so itself
    until = time.monotonic() + _WAIT_S
    while not Path(strike.path).exists() and time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)


def _take_away(ports: frozenset[int] | None, held: list[socket.socket]) -> None:
    """Put a socket that leads nowhere in the place of each that leads somewhere."""
    ours = {each.fileno() for each in held}
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        with suppress(OSError):  # closed meanwhile, or no socket
            if number in ours or not os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                continue
            found = socket.socket(fileno=os.dup(number))
            if not _is_meant(found, ports):
                found.close()
                continue
            here, there = socket.socketpair()
            here.setblocking(False)
            os.dup2(here.fileno(), number)
            here.close()
            held += [found, there]


def _is_meant(found: socket.socket, ports: frozenset[int] | None) -> bool:
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    if ports is None:
        return True
    try:
        return found.getpeername()[1] in ports
    except OSError:  # it listens
        return False


def _wake_later(process: int, after_s: float) -> None:
    """By a process that this one's end does not end; see ``slow_down``."""
    words = ["sh", "-c", f"sleep {after_s}; kill -CONT {process}"]
    subprocess.run(["setsid", "--fork", *words], check=True, timeout=_WAIT_S)


def _work(seconds: float) -> None:
    """Compute for so long, by the thread's own clock."""
    until, some = time.thread_time() + seconds, np.ones((200, 200))
    while time.thread_time() < until:
        some @ some
