"""Keep standard output clean: HiGHS prints a banner when a process makes its first model."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

import highspy

__all__ = ["silence_highs_banner"]


@functools.cache
def silence_highs_banner() -> None:
    """Make a first model while file descriptor 1 leads nowhere; later calls do nothing.

    The banner is written below Python, past every option, and would otherwise stand in front of
    output that must be JSON alone.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        highspy.Highs()
        _flush_c_buffers()
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _flush_c_buffers() -> None:
    """The banner may wait in a buffer and appear only at exit."""
    library = ctypes.CDLL(None) if os.name == "posix" else ctypes.CDLL("msvcrt")
    library.fflush(None)
