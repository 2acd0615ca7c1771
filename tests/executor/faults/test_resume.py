"""Invariant 13: killed at 25 random moments, a run gives the bits of one that was left alone."""

from __future__ import annotations

import multiprocessing
import random
import signal
from pathlib import Path

from gaisnet.executor.run import execute
from gaisnet.testing import write_small_job
from tests.executor.faults.dying import live

MOMENTS = 25
LONGEST_S = 1.5
"""About what a whole run takes."""


def test_a_run_that_is_killed_at_25_random_moments_gives_the_same_bits(tmp_path: Path):
    """By kill −9 from outside at a random time, or in the middle of writing a file."""
    plan = write_small_job(tmp_path, rounds=3, helped=True)
    whole = execute(plan, run_dir=tmp_path / "whole")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.executor.faults.dying"])
    chance, killed, number, ended = random.Random(25), 0, 0, 0
    while killed < MOMENTS:
        folder = tmp_path / f"run-{number}"
        writes = chance.randrange(25) if killed % 2 else None
        process = context.Process(target=live, args=(plan, folder, writes))
        process.start()
        process.join(chance.uniform(0.0, LONGEST_S) if writes is None else 60.0)
        process.kill()
        process.join(60.0)
        if process.exitcode == -signal.SIGKILL:
            killed += 1
            continue
        assert process.exitcode == 0
        number, ended = number + 1, ended + 1
        assert same(folder, tmp_path / "whole")
    folder = tmp_path / f"run-{number}"
    if (folder / "manifest.json").exists():
        execute(None, resume=folder)
        assert same(folder, tmp_path / "whole")
        ended += 1
    assert ended > 0
    assert whole.manifest.status == "done"


def same(folder: Path, whole: Path) -> bool:
    assert not [*folder.rglob(".tmp*"), *folder.rglob("*.tmp")]
    return content(folder) == content(whole)


def content(folder: Path) -> dict[str, bytes]:
    files = [*folder.glob("adapters/**/*"), *folder.glob("answers/*")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(files) if p.is_file()}
