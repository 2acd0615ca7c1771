"""Devices that kill, freeze or slow down themselves or cut themselves off, in every phase."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gaisnet.errors import RunError
from gaisnet.executor.run import execute
from gaisnet.schema.files import read_lines
from gaisnet.schema.run import Event
from tests.executor.engines.faults.sample import tried
from tests.executor.engines.faults.stage import Job, content, device_of, struck
from tests.executor.faults.matrix import Cell, cells, outcome_of

if TYPE_CHECKING:  # importing it loads Ray, which reads its settings then
    from gaisnet.executor.engines.ray.engine import RayEngine

pytestmark = pytest.mark.timeout(900)  # five processes that import torch, on a busy machine

FOUND = {
    "kill": "its process has ended",
    "freeze": "it has not answered for",
    "slow": "it has computed for",
    "disconnect": "it has not answered for",
}
"""How a device is found to be lost."""
WORK_S, LOADING_S = 2.0, 15.0
"""How long a call may take when a device is slow; and how long one that loads."""


@pytest.fixture(autouse=True)
def impatience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Computations that take long are found after seconds, not after an hour."""
    cell, engine = request.node.callspec.params["cell"], request.getfixturevalue("ray_engine")
    if cell.fault == "slow":
        known = engine.health.patience
        start_s = LOADING_S if cell.phase == "joining" else known.start_s
        impatient = replace(known, work_s=WORK_S, start_s=start_s)
        monkeypatch.setattr(engine.health, "patience", impatient)


def lost(*outcomes: str) -> list[pytest.ParameterSet]:
    found = [c for c in cells() if c.fault in FOUND and c.role != "driver"]
    return tried(cell for cell in found if outcome_of(cell) in outcomes)


@pytest.mark.parametrize("cell", lost("not begun"))
def test_a_run_that_loses_a_device_before_it_begins_is_none(
    ray_engine: RayEngine, job: Job, tmp_path: Path, cell: Cell
):
    folder, device = tmp_path / "run", device_of(cell)
    with (
        struck(ray_engine, cell, tmp_path / "note"),
        pytest.raises(RunError, match=f"device {device} is lost: {FOUND[cell.fault]}") as caught,
    ):
        execute(job.plan, run_dir=folder, engine=ray_engine)
    assert caught.value.exit_code == 20
    assert not folder.exists()


@pytest.mark.parametrize("cell", lost("goes on", "left out, goes on"))
def test_a_run_goes_on_without_a_device_bit_for_bit_as_on_the_embedded_engine(
    ray_engine: RayEngine, job: Job, tmp_path: Path, cell: Cell
):
    folder, device = tmp_path / "run", device_of(cell)
    with struck(ray_engine, cell, tmp_path / "note") as process:

        def wake(event: Event) -> None:
            """A device that was frozen comes back while the run goes on, and does no harm."""
            if event.kind == "replanned" and cell.fault == "freeze":
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)

        result = execute(job.plan, run_dir=folder, engine=ray_engine, on_event=wake)
    assert (result.manifest.epoch, result.manifest.status) == (1, "done")
    (found,) = [e for e in read_lines(folder / "events.jsonl", Event) if e.kind == "device_lost"]
    assert found.device == device
    assert FOUND[cell.fault] in str(found.detail)
    expected = job.without(cell)
    assert [set(m.rejected) for m in result.metrics] == [set(m.rejected) for m in expected.metrics]
    assert content(folder) == content(expected.run_dir)


@pytest.mark.parametrize("cell", lost("unchanged"))
def test_a_device_that_is_lost_when_all_is_done_makes_no_difference(
    ray_engine: RayEngine, job: Job, tmp_path: Path, cell: Cell
):
    with struck(ray_engine, cell, tmp_path / "note"):
        result = execute(job.plan, run_dir=tmp_path / "run", engine=ray_engine)
        if cell.fault in ("kill", "freeze", "disconnect"):
            assert ray_engine.watch() == {device_of(cell)}
    assert (result.manifest.epoch, result.manifest.status) == (0, "done")
    assert content(result.run_dir) == content(job.whole().run_dir)
