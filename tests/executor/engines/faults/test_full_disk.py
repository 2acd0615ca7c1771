"""A disk that is really full: a small one of its own, or a limit of the process's."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gaisnet.errors import RunError
from gaisnet.executor.run import execute
from tests.executor.engines.faults.sample import tried
from tests.executor.engines.faults.stage import Job, arm, content
from tests.executor.engines.faults.strike import Strike
from tests.executor.faults.matrix import Cell, cells, outcome_of, reason_of
from tests.executor.faults.test_matrix import ROUND

if TYPE_CHECKING:  # importing it loads Ray, which reads its settings then
    from gaisnet.executor.engines.ray.engine import RayEngine

pytestmark = pytest.mark.timeout(900)  # five processes that import torch, on a busy machine

ROOM = "4m"
ASKED = {"checkpointing": "edge-0", "inference": "owner-a", "shutdown": "edge-0"}
"""Who is called when the driver is about to write, and fills the disk then."""


@contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """A small file system of its own for a folder; gives whether it could be made."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(folder)]
    made = subprocess.run(words, check=False, capture_output=True).returncode == 0
    try:
        yield made
    finally:
        if made:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def limits_kept() -> Iterator[None]:
    known = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, known)


@pytest.mark.parametrize(
    "cell", tried(c for c in cells() if c.fault == "full" and reason_of(c) is None)
)
def test_a_full_disk_ends_the_run_and_when_there_is_room_again_it_is_resumed(
    ray_engine: RayEngine, job: Job, tmp_path: Path, cell: Cell
):
    folder, note = tmp_path / "run", tmp_path / "note"
    known = {"device": ASKED[cell.phase], "round": ROUND, "note": str(note)}
    known |= {"fault": cell.fault, "phase": cell.phase, "role": cell.role}
    with disk(folder) as small:
        known |= {"path": str(folder)} if small else {"process": os.getpid()}
        arm(ray_engine, Strike.model_validate(known))
        told = "No space left" if small else "File too large"
        with limits_kept(), pytest.raises(RunError, match=told) as caught:
            execute(job.plan, run_dir=folder, engine=ray_engine)
        assert note.read_text() == f"{cell}\n"
        assert f"ends {caught.value.exit_code}" == outcome_of(cell)
        assert f"gaisnet execute --engine ray --resume {folder}" in str(caught.value.hint)
        (folder / "filler").unlink(missing_ok=not small)
        execute(None, resume=folder, engine=ray_engine)
        assert content(folder) == content(job.whole().run_dir)
