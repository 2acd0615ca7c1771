"""A driver that is killed, cut off, stopped or slowed down by its devices, in every phase."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from gaisnet.executor.run import RunResult, execute
from gaisnet.schema.files import read_lines, read_model
from gaisnet.schema.run import Event, RunManifest
from gaisnet.testing import write_small_job
from tests.executor.engines.conftest import alive
from tests.executor.engines.faults.stage import content
from tests.executor.engines.faults.strike import Strike
from tests.executor.engines.loopback import environment
from tests.executor.faults.matrix import PHASES, Cell, cells, outcome_of

pytestmark = [pytest.mark.timeout(900), pytest.mark.whole_matrix]

ROUNDS, ROUND = 2, 1
LIMIT_S = 300.0
PATIENCE = 2.0
"""A device may be silent for four seconds."""
FROZEN_S = 6.0


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_job(tmp_path_factory.mktemp("driver"), rounds=ROUNDS, clusters=1)


@pytest.fixture(scope="module")
def whole(plan: Path) -> RunResult:
    return execute(plan, run_dir=plan.parent / "whole")


def strikes_of(some: Iterable[Cell], folder: Path, **more: object) -> str:
    """In their order, by the edge, which has a part in every phase."""
    known = {"device": "edge-0", "round": ROUND, "note": str(folder / "note")}
    known |= {"path": str(folder / "done")} | more
    told = [known | {"fault": c.fault, "phase": c.phase, "role": c.role} for c in some]
    return json.dumps([Strike.model_validate(each).model_dump() for each in told])


def driven(plan: Path, folder: Path, strikes: str, *more: str) -> tuple[int, str]:
    """A run of the command, and what came of it; nothing that it started may be left."""
    words = ["-m", "tests.executor.engines.faults.driven", strikes, "execute", str(plan)]
    words += ["--engine", "ray", "--patience", str(PATIENCE), "-o", str(folder / "run")]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *words, *more],
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environment(),
            start_new_session=True,
        )
    started: dict[int, psutil.Process] = {}
    until = time.monotonic() + LIMIT_S
    try:
        while process.poll() is None:
            assert time.monotonic() < until, (folder / "said").read_text()
            started |= {p.pid: p for p in psutil.Process(process.pid).children(recursive=True)}
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait(LIMIT_S)
    while left := [each for each in started.values() if alive(each)]:
        assert time.monotonic() < until, [each.cmdline() for each in left]
        time.sleep(0.1)
    return process.returncode, (folder / "said").read_text()


def of_driver(fault: str, outcome: str) -> list[Cell]:
    found = [c for c in cells() if (c.fault, c.role) == (fault, "driver")]
    assert [outcome_of(c) for c in found] == [outcome] * len(PHASES)
    return found


@pytest.mark.parametrize("cell", of_driver("kill", "resumed"), ids=str)
def test_a_driver_that_is_killed_is_resumed(
    plan: Path, whole: RunResult, tmp_path: Path, cell: Cell
):
    code, said = driven(plan, tmp_path, strikes_of([cell], tmp_path))
    assert code == -signal.SIGKILL, said
    check_resumed(plan, whole, tmp_path, cell)


@pytest.mark.parametrize("cell", of_driver("disconnect", "resumed"), ids=str)
def test_a_driver_that_is_cut_off_from_all_devices_ends_with_20_and_is_resumed(
    plan: Path, whole: RunResult, tmp_path: Path, cell: Cell
):
    """Others might be at hand to go on with; it is told not to."""
    code, said = driven(plan, tmp_path, strikes_of([cell], tmp_path), "--on-loss", "stop")
    assert code == 20, said
    assert "has not answered for" in said
    if cell.phase != "joining":
        assert f"gaisnet execute --engine ray --resume {tmp_path / 'run'}" in said
    check_resumed(plan, whole, tmp_path, cell)


def check_resumed(plan: Path, whole: RunResult, folder: Path, cell: Cell) -> None:
    """On the embedded engine; a run that had not begun, from the beginning."""
    assert (folder / "note").read_text() == f"{cell}\n"
    run = folder / "run"
    begun = (run / "manifest.json").exists()
    assert begun == (cell.phase != "joining")
    execute(None if begun else plan, run_dir=None if begun else run, resume=run if begun else None)
    assert content(run) == content(whole.run_dir)


@pytest.mark.parametrize(
    ("fault", "phases", "lasts_s"), [("freeze", [*PHASES], FROZEN_S), ("slow", ["joining"], 0.0)]
)
def test_a_driver_that_is_stopped_in_every_phase_or_slow_in_all_makes_no_difference(
    plan: Path,
    whole: RunResult,
    tmp_path: Path,
    fault: str,
    phases: list[str],
    lasts_s: float,
):
    """For longer than devices may be silent; or ten times slower from the first phase on."""
    found = [cell for cell in of_driver(fault, "unchanged") if cell.phase in phases]
    code, said = driven(plan, tmp_path, strikes_of(found, tmp_path, lasts_s=lasts_s))
    assert code == 0, said
    assert (tmp_path / "note").read_text().split() == [str(cell) for cell in found]
    run = tmp_path / "run"
    assert read_model(run / "manifest.json", RunManifest).epoch == 0
    assert "device_lost" not in {e.kind for e in read_lines(run / "events.jsonl", Event)}
    assert content(run) == content(whole.run_dir)
