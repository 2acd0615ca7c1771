"""A search that is killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gaisnet.planner.search import search
from gaisnet.schema.files import canonical_json
from tests.planner.search.small import small_job

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from gaisnet.planner.search import search
def told(what, done):
    sys.stdout.write(what + "\\n")
    sys.stdout.flush()
search(sys.argv[1], trials=int(sys.argv[2]), storage=sys.argv[3], progress=told)
"""


@pytest.mark.parametrize(("trials", "after"), [(7, 3), (16, 2)], ids=["sampled", "enumerated"])
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, trials: int, after: int) -> None:
    path, storage = small_job(tmp_path), f"sqlite:///{tmp_path}/search.db"
    arguments = [sys.executable, "-c", SCRIPT, str(path), str(trials), storage]
    running = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert running.stdout is not None
    for _ in range(after):
        assert running.stdout.readline()
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    resumed = search(path, trials=trials, storage=storage)
    whole = search(path, trials=trials)
    assert canonical_json(resumed.front) == canonical_json(whole.front)
    assert list(resumed.evaluator.known) == list(whole.evaluator.known)


def test_a_trial_that_was_under_way_is_done_again_under_its_number(tmp_path: Path) -> None:
    path, storage = small_job(tmp_path), f"sqlite:///{tmp_path}/search.db"

    def break_off(what: str, done: float) -> None:
        if what.startswith("4 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(path, trials=7, storage=storage, progress=break_off)
    _begin_one(storage)
    resumed = search(path, trials=7, storage=storage)
    assert canonical_json(resumed.front) == canonical_json(search(path, trials=7).front)


def _begin_one(storage: str) -> None:
    """What a process leaves that dies between asking and telling."""
    import optuna

    optuna.load_study(study_name="job", storage=storage).ask()
