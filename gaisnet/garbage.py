"""What a process imports is no garbage: Python's collector need not look at it.

torch and transformers leave more than 400,000 objects that never die. Whenever
enough others have piled up the collector looks at all of them, which takes a good part of a second:
several times while they are imported, and later in the midst of a step.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["leave_alone", "nothing_collected"]


def leave_alone() -> None:
    """Collections from now on skip all objects that there are now, for as long as the process
    lives; they still die when nothing refers to them."""
    gc.freeze()


@contextmanager
def nothing_collected() -> Iterator[None]:
    """For a block that imports."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
