"""Ctrl-C while Ray is at work: the run can be resumed, and no process is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gaisnet.executor.run import execute
from gaisnet.schema.files import read_model
from gaisnet.schema.run import RunManifest
from gaisnet.testing import write_small_job
from tests.executor.engines.conftest import alive, end

pytestmark = pytest.mark.timeout(600)

LIMIT_S = 240.0


def begun(plan: Path, run: Path) -> subprocess.Popen[str]:
    words = ["execute", str(plan), "--engine", "ray", "--patience", "15", "-o", str(run)]
    return subprocess.Popen(
        [sys.executable, "-m", "gaisnet.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + LIMIT_S
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.1)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def of_group(group: int) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and alive(process):
                found.append(process)
        except ProcessLookupError:
            continue
    return found


def in_a_round(run: Path) -> Callable[[], bool]:
    events = run / "events.jsonl"
    return lambda: events.exists() and '"round": 1' in events.read_text()


@pytest.mark.parametrize("moment", ["while Ray starts", "in a round"])
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path, moment: str):
    plan, run = write_small_job(tmp_path, rounds=1000), tmp_path / "run"
    process = begun(plan, run)
    try:
        if moment == "in a round":
            wait_for(in_a_round(run), process)
        else:
            wait_for(lambda: any("raylet" in p.name() for p in descendants(process)), process)
        started = descendants(process)
        assert any("raylet" in each.name() for each in started)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        told = process.communicate(timeout=LIMIT_S)[1]
    finally:
        if process.poll() is None:
            process.kill()
    end(started)
    assert of_group(process.pid) == []
    assert process.returncode == 130, told
    assert "Traceback" not in told
    if moment == "in a round":
        assert f"gaisnet execute --engine ray --resume {run}" in told
    else:
        assert "interrupted" in told


def test_a_driver_that_is_killed_takes_its_cluster_with_it_and_is_resumed(tmp_path: Path):
    """By SIGKILL, so that it can do nothing about it itself."""
    plan, run = write_small_job(tmp_path, rounds=4), tmp_path / "run"
    process = begun(plan, run)
    try:
        wait_for(in_a_round(run), process)
        started = descendants(process)
    finally:
        process.kill()
    process.communicate(timeout=LIMIT_S)
    until = time.monotonic() + LIMIT_S
    while any(map(alive, started)):
        assert time.monotonic() < until, [each.name() for each in started if alive(each)]
        time.sleep(0.1)
    assert read_model(run / "manifest.json", RunManifest).status == "running"
    resumed = execute(None, resume=run)  # on the other engine
    whole = execute(plan, run_dir=tmp_path / "whole")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256
