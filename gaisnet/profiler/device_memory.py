"""How much memory this process may use, and who says so.

A container sees the whole machine's ``MemTotal`` but is killed at its control group's limit, so
the group's limit comes first: version 2, then version 1, and every parent group counts as well.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
import torch

from gaisnet.errors import UsageError

__all__ = ["MemoryLimit", "cuda_runtime_bytes", "memory_limit", "runtime_bytes"]

_NO_LIMIT = 1 << 60
"""Version 1 writes a number near 2^63 where no limit is set."""

_FRESH_RUNTIME = (
    "import torch, transformers, psutil; from gaisnet.models import load_model; "
    "x = torch.randn(64, 64, requires_grad=True); (x @ x).sum().backward(); "
    "print(psutil.Process().memory_info().rss)"
)


@dataclass(frozen=True)
class MemoryLimit:
    """Bytes that may be used."""

    limit_bytes: int
    source: Literal["cgroup-v2", "cgroup-v1", "meminfo"]


def memory_limit(
    proc: Path = Path("/proc"), cgroup_root: Path = Path("/sys/fs/cgroup")
) -> MemoryLimit:
    """The tightest limit on this process's memory.

    Args:
        proc: Where the kernel's process files are.
        cgroup_root: Where control groups are mounted.

    Raises:
        UsageError: Not even ``MemTotal`` can be read.
    """
    total = _mem_total(proc)
    groups = _groups(proc)
    candidates: list[MemoryLimit] = []
    for limit in _limits(cgroup_root, groups.get(""), "memory.max"):
        candidates.append(MemoryLimit(limit, "cgroup-v2"))
    if not candidates:
        for limit in _limits(cgroup_root / "memory", groups.get("memory"), "memory.limit_in_bytes"):
            candidates.append(MemoryLimit(limit, "cgroup-v1"))
    if total is not None:
        candidates.append(MemoryLimit(total, "meminfo"))
    if not candidates:
        raise UsageError("the memory of this machine cannot be read", where=str(proc / "meminfo"))
    return min(candidates, key=lambda found: found.limit_bytes)


def runtime_bytes(*, fresh: bool = False) -> int:
    """Resident bytes of an interpreter with torch and transformers after one small step.

    Args:
        fresh: Whether this process has done nothing yet and holds no model, so that it can be
            asked itself. Otherwise a second one is, which takes seconds to start; where none
            can be started, this one's own figure is the (too high) answer.
    """
    if fresh:
        probe = torch.randn(64, 64, requires_grad=True)
        (probe @ probe).sum().backward()  # type: ignore[no-untyped-call]
        return int(psutil.Process().memory_info().rss)
    command = [sys.executable, "-c", _FRESH_RUNTIME]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return int(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return int(psutil.Process().memory_info().rss)


def cuda_runtime_bytes(device: torch.device) -> int:
    """Bytes of a GPU's memory that are in use beside what torch's allocator holds there: the
    driver's context and the libraries' kernels, and what other programs have."""
    probe = torch.randn(64, 64, device=device, requires_grad=True)
    (probe @ probe).sum().backward()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free - torch.cuda.memory_reserved(device))


def _mem_total(proc: Path) -> int | None:
    for line in _read(proc / "meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    try:
        return int(psutil.virtual_memory().total)
    except (OSError, RuntimeError):
        return None


def _groups(proc: Path) -> dict[str, str]:
    """Path of this process's group by controller; the unified hierarchy has the name ""."""
    found: dict[str, str] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _limits(root: Path, group: str | None, file_name: str) -> Iterator[int]:
    """Limits of ``group`` and of all its parents; inside a container the mount is the group."""
    if group is None:
        return
    folder = root / group.lstrip("/")
    for place in (folder, *folder.parents):
        text = _read(place / file_name).strip()
        if text.isdigit() and int(text) < _NO_LIMIT:
            yield int(text)
        if place == root:
            return


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
