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

from gaisnet.testing import write_small_job
from tests.executor.engines.conftest import alive, end

pytestmark = pytest.mark.timeout(600)

LIMIT_S = 240.0


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
    words = ["execute", str(plan), "--engine", "ray", "--patience", "15", "-o", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "gaisnet.cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
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
