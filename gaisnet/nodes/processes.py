"""Ray's processes on this machine: ours are found by descent and ended by id, never by name."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

__all__ = ["end_all", "end_at_once", "is_alive", "rays_below"]

_WAIT_S = 10.0


def rays_below(process: psutil.Process) -> list[psutil.Process]:
    """Ray's processes among those that a process has started, and they in turn."""
    return [child for child in process.children(recursive=True) if _is_rays(child)]


def end_all(processes: Iterable[psutil.Process], wait_s: float = _WAIT_S) -> None:
    """Wait until they have ended; those that do not are killed."""
    those = list(processes)
    if not _wait_for_end(those, wait_s):
        for process in filter(is_alive, those):
            process.kill()
        _wait_for_end(those, wait_s)


def end_at_once(process: psutil.Process) -> None:
    """Kill Ray's processes below this one, also those that they are about to start: each is
    stopped first, and then looked below again."""
    known: dict[int, psutil.Process] = {}
    while found := [each for each in rays_below(process) if each.pid not in known]:
        for each in found:
            known[each.pid] = each
            _signal(each, signal.SIGSTOP)
    for each in known.values():
        _signal(each, signal.SIGKILL)
    _wait_for_end(known.values(), _WAIT_S)


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def is_alive(process: psutil.Process) -> bool:
    """A process that has ended may stay in the table until its parent has looked."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _is_rays(process: psutil.Process) -> bool:
    try:
        return any("ray" in word for word in process.cmdline()[:4])
    except psutil.Error:
        return False


def _wait_for_end(processes: Iterable[psutil.Process], wait_s: float) -> bool:
    until = time.monotonic() + wait_s
    while any(map(is_alive, processes)):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
