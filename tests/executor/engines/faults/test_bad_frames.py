"""Devices that send damaged frames, bad updates or old frames, from device to device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gaisnet.errors import RunError
from gaisnet.executor.run import execute
from tests.executor.engines.faults.sample import tried
from tests.executor.engines.faults.stage import Job, content, device_of, struck
from tests.executor.faults.matrix import Cell, cells, outcome_of
from tests.executor.faults.spoiled import SPOILS

if TYPE_CHECKING:  # importing it loads Ray, which reads its settings then
    from gaisnet.executor.engines.ray.engine import RayEngine

pytestmark = pytest.mark.timeout(900)  # five processes that import torch, on a busy machine


def bad(*outcomes: str) -> list[pytest.ParameterSet]:
    return tried(c for c in cells() if c.fault in SPOILS and outcome_of(c) in outcomes)


@pytest.mark.parametrize("cell", bad("left out"))
def test_a_bad_update_is_left_out_as_on_the_embedded_engine(
    ray_engine: RayEngine, job: Job, tmp_path: Path, cell: Cell
):
    with struck(ray_engine, cell, tmp_path / "note"):
        result = execute(job.plan, run_dir=tmp_path / "run", engine=ray_engine)
    expected = job.spoiled(cell)
    assert (result.manifest.epoch, result.manifest.status) == (0, "done")
    assert [m.rejected for m in result.metrics] == [m.rejected for m in expected.metrics]
    assert set(result.metrics[-1].rejected) == {device_of(cell)}
    assert content(result.run_dir) == content(expected.run_dir)


@pytest.mark.parametrize("cell", bad("ends 20", "ends 21"))
def test_a_bad_frame_ends_the_run_and_it_is_resumed_bit_for_bit(
    ray_engine: RayEngine, job: Job, tmp_path: Path, cell: Cell
):
    folder = tmp_path / "run"
    with struck(ray_engine, cell, tmp_path / "note"):
        with pytest.raises(RunError) as caught:
            execute(job.plan, run_dir=folder, engine=ray_engine)
        assert f"ends {caught.value.exit_code}" == outcome_of(cell)
        assert f"gaisnet execute --engine ray --resume {folder}" in str(caught.value.hint)
        assert ray_engine.watch() == frozenset(), "no device is lost"
        execute(None, resume=folder, engine=ray_engine)
    assert content(folder) == content(job.whole().run_dir)
