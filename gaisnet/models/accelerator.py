"""Where torch computes: on the processor, or on the GPU that it finds; and how it does there.

A GPU sums in whatever order it likes unless it is told otherwise, and rounds the factors of
convolutions to 10 bits (TF32). Both are switched off in a process as soon as a GPU is chosen in it,
so that the same work gives the same bits again on the same card, and float32 means float32.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from gaisnet.errors import MismatchError, ModelError, UsageError
from gaisnet.schema.base import Compute

__all__ = ["gpu_name", "place_of", "refusals_of_the_gpu", "refused_by_the_gpu", "usual_place"]

_OTHER_TORCH = "install a torch that is built for the GPU of this machine"
_WORKSPACE_VARIABLE, _WORKSPACE = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""cuBLAS sums in the same order again only with workspaces of a fixed size."""
_NO_ORDER = "does not have a deterministic implementation"


def place_of(compute: Compute, device: str | None) -> torch.device:
    """Where tensors of a device that computes so have to lie.

    Args:
        compute: What it computes on.
        device: Its id, if it is one of a plan's.

    Raises:
        MismatchError: There is no GPU that torch can use.
    """
    if compute == "cpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise MismatchError(
            "it is to compute on CUDA, and torch finds no GPU here",
            where=device,
            hint=f"use --compute cpu, or {_OTHER_TORCH}",
        )
    _same_bits_again()
    return torch.device("cuda", torch.cuda.current_device())


def usual_place(device: str | None) -> str:
    """``device``, or if it is left out the GPU if there is one, and else the CPU.

    Raises:
        UsageError: There is no GPU that torch can use, but one is asked for.
    """
    there = torch.cuda.is_available()
    place = device or ("cuda" if there else "cpu")
    if torch.device(place).type == "cuda":
        if not there:
            raise UsageError("torch finds no GPU here", hint=f"{_OTHER_TORCH}, or take the CPU")
        _same_bits_again()
    return place


def gpu_name() -> str | None:
    """What the GPU is called that torch would compute on, if there is one."""
    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def refused_by_the_gpu(error: RuntimeError) -> str | None:
    """Why a GPU does not compute something as a run would have it, if that is what failed.

    Its memory is full, or an operator has no version for CUDA that gives the same bits again.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU has no memory left"
    operator, unordered, _ = str(error).partition(_NO_ORDER)
    if not unordered:
        return None
    name = operator.strip()
    return f"torch's {name} gives other bits each time on a GPU, so no run could repeat it"


@contextmanager
def refusals_of_the_gpu(model: str) -> Iterator[None]:
    """Say why a model cannot be computed on a GPU as a run would have it.

    Raises:
        ModelError: See ``refused_by_the_gpu``.
    """
    try:
        yield
    except RuntimeError as error:
        if (why := refused_by_the_gpu(error)) is None:
            raise
        full = isinstance(error, torch.OutOfMemoryError)
        less = "take smaller batches or fewer tokens, or " if full else ""
        hint = f"{less}let it compute on the CPU: --compute cpu"
        raise ModelError(why, where=model, hint=hint) from error


@cache
def _same_bits_again() -> None:
    torch.use_deterministic_algorithms(True)
    # What is allocated is written before it is read; to fill it first would only take time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    if _WORKSPACE_VARIABLE not in os.environ:
        _look_once_at_the_workspace()


def _look_once_at_the_workspace() -> None:
    """Let torch see the variable when it first looks whether cuBLAS can be relied on.

    It never looks again, but takes the text apart for each product: 0.04 to 0.12 ms each time
    where that was found. The workspaces are torch's own, of a fixed size, either way.
    """
    os.environ[_WORKSPACE_VARIABLE] = _WORKSPACE
    try:
        probe = torch.ones(8, 8, device="cuda")
        torch.mm(probe, probe)
        torch.cuda.synchronize()
    finally:
        del os.environ[_WORKSPACE_VARIABLE]
