"""Work on a device that computes on a GPU: where it is said, and when it is done."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from gaisnet.errors import RunError, UsageError
from gaisnet.executor.engines.base import Answer
from gaisnet.nodes.settings import COMPUTE_VARIABLE
from gaisnet.schema.base import Compute

__all__ = ["computed", "own_compute"]

_ON_THE_CPU = "let it compute on the CPU: --compute cpu"
_NO_ORDER = "does not have a deterministic implementation"


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


def computed(device: str, work: Callable[..., Answer], *arguments: Any) -> Answer:
    """What ``work`` answers, once a GPU is done with it too: it is given work ahead of time.

    Raises:
        RunError: The GPU has no memory left, or cannot do it the same way again.
    """
    try:
        answer = work(*arguments)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        return answer
    except torch.OutOfMemoryError as error:
        hint = f"plan with a smaller memory_bytes for it, or {_ON_THE_CPU}"
        raise RunError("its GPU has no memory left", where=device, hint=hint) from error
    except RuntimeError as error:
        if _NO_ORDER not in str(error):
            raise
        what = str(error).split(_NO_ORDER)[0].strip()
        message = f"{what} sums in another order each time on a GPU"
        raise RunError(message, where=device, hint=_ON_THE_CPU) from error
