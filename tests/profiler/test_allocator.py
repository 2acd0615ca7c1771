"""The allocators' own record: what they count, and that predictions meet it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gaisnet.profiler import measured_stage_peak, profile_model, stage_memory
from gaisnet.profiler.allocator import allocated_beyond, measured_peak
from gaisnet.profiler.analysis import Optimizer
from gaisnet.profiler.timing import time_steps
from gaisnet.progress import silent

from .small import TUNABLES, real, spec_of

_CPU = torch.device("cpu")
_CLOSE = 0.015
_SCALARS = 64
"""Bytes that constants of an expression (the 1 of ``x + 1``) take as tensors of their own."""
_ROUNDED = 512
"""Bytes that CUDA's allocator hands out at a time."""

_on_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU here: CUDA's allocator was not checked"
)


def test_the_most_that_was_alive_at_once_is_counted() -> None:
    def work() -> None:
        first = torch.ones(1000)
        second = first + 1
        del first
        third = second[:10] + 1
        assert third.numel() == 10

    assert allocated_beyond(work, _CPU) == pytest.approx(8000, abs=_SCALARS)


def test_what_is_held_counts_once_and_beside_what_a_step_takes() -> None:
    weight = torch.ones(100)
    peak = measured_peak(lambda: weight * 2, [weight, weight.view(10, 10)], _CPU)
    assert peak.bytes == pytest.approx(400 + 400, abs=_SCALARS)
    assert peak.source == "cpu-allocator"


@pytest.mark.parametrize(
    ("family", "tunable", "first", "last", "optimizer", "checkpointing"),
    [
        ("vit", "full", 0, 4, "adamw", False),
        ("bert", "lora", 1, 3, "sgd", False),
        ("llama", "adapter", 2, 4, "adamw", True),
    ],
)
def test_the_cpus_allocator_hands_out_what_was_predicted(
    family: str,
    tunable: str,
    first: int,
    last: int,
    optimizer: Optimizer,
    checkpointing: bool,
    folder: Path,
) -> None:
    chosen = (spec_of(family, folder), TUNABLES[tunable], first, last, 4, optimizer)
    predicted = stage_memory(*chosen, checkpointing=checkpointing)
    used = measured_stage_peak(*chosen, checkpointing=checkpointing, device="cpu")
    assert used.bytes == pytest.approx(predicted.peak_bytes, rel=_CLOSE)


def test_a_profile_of_a_cpu_has_no_measured_peak(folder: Path) -> None:
    model = real("vit", folder, "lora")
    chosen = {"optimizer": "adamw", "batch_sizes": (2,), "tokens": None, "seed": 0, "threads": 1}
    records = time_steps(model, **chosen, budget_s=0.0, show=silent)  # type: ignore[arg-type]
    assert records[2].peak is None


@_on_a_gpu
def test_cudas_allocator_counts_the_most_at_once() -> None:
    device = torch.device("cuda")

    def work() -> None:
        first = torch.ones(1 << 20, device=device)
        second = first + 1
        del first, second

    assert allocated_beyond(work, device) == 2 * 4 << 20


@_on_a_gpu
@pytest.mark.parametrize(("first", "last"), [(0, 4), (1, 2)])
def test_cudas_allocator_hands_out_at_least_the_resident_part(
    first: int, last: int, folder: Path
) -> None:
    """No prediction is held against it here: kernels of a GPU save other tensors than a CPU's,
    and every one of these small ones is rounded up."""
    chosen = (spec_of("vit", folder), TUNABLES["full"], first, last, 4)
    used = measured_stage_peak(*chosen, device="cuda")
    predicted = stage_memory(*chosen)
    resident = predicted.weight_bytes + predicted.optimizer_bytes + predicted.gradient_bytes
    assert used.source == "cuda-allocator"
    assert used.bytes >= resident
    assert measured_stage_peak(*chosen, device="cuda").bytes == used.bytes


@_on_a_gpu
def test_a_profile_of_a_gpu_has_the_peak_of_whole_steps(folder: Path) -> None:
    part = profile_model(spec_of("vit", folder), TUNABLES["lora"], device="cuda")
    small, large = (check.measured_peak for check in part.end_to_end)
    assert small is not None
    assert large is not None
    assert small.bytes + _ROUNDED < large.bytes
