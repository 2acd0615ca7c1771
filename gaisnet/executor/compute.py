"""Work on a device that computes on a GPU: where it is said, and when it is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from gaisnet.errors import RunError, UsageError
from gaisnet.models.accelerator import refused_by_the_gpu
from gaisnet.nodes.settings import COMPUTE_VARIABLE
from gaisnet.schema.base import Compute

__all__ = ["computed", "own_compute"]

_ON_THE_CPU = (
    "let it compute on the CPU (--compute cpu: with execute all devices, with join that one alone)"
)

T = TypeVar("T")


def own_compute() -> Compute | None:
    """What this device's node was told to compute on (``gaisnet join --compute``), if it was.

    Raises:
        UsageError: The environment says something else than ``cpu`` or ``cuda``.
    """
    told = os.environ.get(COMPUTE_VARIABLE)
    if told is None:
        return None
    if told == "cpu":
        return "cpu"
    if told == "cuda":
        return "cuda"
    raise UsageError(f"{COMPUTE_VARIABLE} is {told!r}", hint="set it to cpu or cuda, or not at all")


def computed(where: str, work: Callable[..., T], *arguments: Any) -> T:
    """What ``work`` returns, once a GPU is done with it too: it is given work ahead of time.

    Args:
        where: The device that works, or on what is worked.
        work: What is to be done.
        arguments: Of ``work``.

    Raises:
        RunError: The GPU has no memory left, or cannot do it the same way again.
    """
    try:
        done = work(*arguments)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        return done
    except RuntimeError as error:
        if (why := refused_by_the_gpu(error)) is None:
            raise
        full = isinstance(error, torch.OutOfMemoryError)
        less = "plan with a smaller memory_bytes for it, or " if full else ""
        raise RunError(why, where=where, hint=less + _ON_THE_CPU) from error
