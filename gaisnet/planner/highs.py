"""HiGHS behind PuLP, single-threaded and quiet, and without the traps that both are known for.

PuLP 3.3 knows no model status for a node limit that was hit and fails with a ``KeyError``, after
it has read the values; HiGHS prints a banner when a process makes its first model.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import sys
from typing import Any

import highspy
import pulp

__all__ = ["highs", "silence_highs_banner"]


def highs(**options: Any) -> pulp.HiGHS:
    """A HiGHS solver for PuLP on one thread; ``options`` are PuLP's and HiGHS's own."""
    silence_highs_banner()
    return _Highs(msg=False, threads=1, **options)


class _Highs(pulp.HiGHS):  # type: ignore[misc]
    def findSolutionValues(self, lp: pulp.LpProblem) -> tuple[int, int]:  # noqa: N802
        """PuLP's own, which knows every status but that of a node limit."""
        if lp.solverModel.getModelStatus() != highspy.HighsModelStatus.kSolutionLimit:
            found: tuple[int, int] = super().findSolutionValues(lp)
            return found
        if not math.isfinite(lp.solverModel.getObjectiveValue()):
            return pulp.LpStatusNotSolved, pulp.LpSolutionNoSolutionFound
        values = lp.solverModel.getSolution().col_value
        for variable in lp.variables():
            variable.varValue = values[variable.index]
        return pulp.LpStatusOptimal, pulp.LpSolutionIntegerFeasible


@functools.cache
def silence_highs_banner() -> None:
    """Make a first model while file descriptor 1 leads nowhere; later calls do nothing.

    The banner is written below Python, past every option, and would otherwise stand in front of
    output that must be JSON alone.
    """
    if sys.stdout is None:  # it was closed before gaisnet began: 1 may be any file by now
        return
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
