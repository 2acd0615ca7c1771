"""Executes or resumes a plan in a process that may kill itself while it writes a file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch

from gaisnet.executor.run import execute

__all__ = ["live"]


def live(plan: Path, folder: Path, writes: int | None) -> None:
    """One life; with ``writes`` it ends by SIGKILL at that call of ``fsync``."""
    torch.set_num_threads(1)
    left = [writes]
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        real(descriptor)

    os.fsync = fsync
    started = (folder / "manifest.json").exists()
    execute(
        None if started else plan,
        run_dir=None if started else folder,
        resume=folder if started else None,
    )
