"""Freed memory that stays with the process, by the page faults that it saves."""

from __future__ import annotations

import platform
import resource

import pytest
import torch

from gaisnet.heap import freed_memory_kept

needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="elsewhere nothing is changed"
)
NUMBERS = 16 << 20
PAGES = 4 * NUMBERS // resource.getpagesize()


def faults(times: int) -> int:
    """Page faults of taking, filling and freeing 64 MiB so often."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.zeros(NUMBERS).add_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@needs_glibc
def test_freed_memory_is_used_again_without_a_page_fault() -> None:
    with freed_memory_kept(), freed_memory_kept():
        faults(12)  # until the blocks have found their places
        kept = faults(12)
    assert kept <= 6 * PAGES, "twelve times without it"


@needs_glibc
def test_it_goes_back_to_the_system_after_the_outermost_block() -> None:
    with freed_memory_kept():
        with freed_memory_kept():
            faults(1)
        held = resident_bytes()
    assert resident_bytes() < held - 4 * NUMBERS / 2


def test_results_are_the_same_bits() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(64, 512), torch.randn(512, 64)
    plain = left @ right
    with freed_memory_kept():
        kept = left @ right
    assert torch.equal(plain, kept)
