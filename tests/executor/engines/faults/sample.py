"""Which cells are tried whenever Ray is; the others take long, and are tried when asked for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.executor.faults.matrix import Cell

__all__ = ["SAMPLE", "tried"]

SAMPLE = frozenset(
    {
        Cell("kill", "forward", "holder"),
        Cell("freeze", "backward", "edge"),
        Cell("disconnect", "forward", "owner"),
        Cell("slow", "averaging", "owner"),
        Cell("corrupt", "inference", "owner"),
        Cell("nan", "averaging", "owner"),
        Cell("shape", "averaging", "holder"),
        Cell("huge", "averaging", "owner"),
        Cell("replay", "distributing", "edge"),
        Cell("full", "checkpointing", "driver"),
    }
)
"""One of every fault."""


def tried(found: Iterable[Cell]) -> list[pytest.ParameterSet]:
    """Cells as parameters; those that are not in the sample are marked."""
    rest = pytest.mark.whole_matrix
    return [
        pytest.param(cell, id=str(cell), marks=[] if cell in SAMPLE else [rest]) for cell in found
    ]
