"""Memory that a process has freed stays with it for a while.

glibc gives large blocks back to the operating system at once, and gets new pages, which are zeroed,
for the next: at every step of a fine-tuning, which frees and takes the same sizes again. With the
pages kept, a step of a MiniLM under full tuning takes about half as long at a batch of one
(docs/benchmarks.md), and times no longer hang on what else was freed before.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

__all__ = ["freed_memory_kept", "keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Parameters of ``mallopt``, from ``malloc.h``."""
_MOST = 2**31 - 1
_USUAL = ((_MMAP_MAX, 65536), (_MMAP_THRESHOLD, 32 << 20), (_TRIM_THRESHOLD, 64 << 20))
"""What glibc's own thresholds grow to, once large blocks have been freed."""

_lock = Lock()
_users = 0


def keep_freed_memory() -> None:
    """From now on, in this process; nothing happens where the C library is not glibc."""
    _set(((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _MOST)))


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """The same for a block, after which all that is free goes back; blocks may overlap."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            keep_freed_memory()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _set(_USUAL)
                _give_back()


def _set(parameters: tuple[tuple[int, int], ...]) -> None:
    library = _glibc()
    if library is not None:
        for parameter, value in parameters:
            library.mallopt(parameter, value)


def _give_back() -> None:
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
