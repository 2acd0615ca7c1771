"""A device that wants to leave: it does so between two rounds, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from gaisnet.errors import RunError
from gaisnet.executor.engines import News
from gaisnet.executor.run import execute
from gaisnet.schema.files import read_lines
from gaisnet.schema.run import Event
from gaisnet.testing import write_small_job
from tests.executor.faults.fragile import FragileEngine

HELPER, IDLE, OWNER = "owner-c", "edge-1", "owner-b"


class LeavingEngine(FragileEngine):
    """A device that says after every round that it wants to leave, until it is let go."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def news(self) -> Mapping[str, News]:
        told = {device: each for device, each in super().news().items() if device not in self.gone}
        if self.device not in self.gone:
            told[self.device] = replace(told.get(self.device, News()), leaving=True)
        return told

    def release(self, device: str) -> None:
        super().release(device)
        self.gone.add(device)


def events(run: Path) -> list[tuple[str, int | None, str | None]]:
    return [(e.kind, e.round, e.device) for e in read_lines(run / "events.jsonl", Event)]


@pytest.mark.parametrize("device", [HELPER, OWNER])
def test_a_run_goes_on_without_who_left_and_repeats_no_round(tmp_path: Path, device: str):
    plan = write_small_job(tmp_path, rounds=3, helped=True)
    started: list[int | None] = []

    def follow(event: Event) -> None:
        if event.kind == "round_started":
            started.append(event.round)

    result = execute(plan, run_dir=tmp_path / "run", engine=LeavingEngine(device), on_event=follow)
    assert result.manifest.status == "done"
    assert started == [0, 1, 2]
    told = events(tmp_path / "run")
    assert ("device_leaving", 0, device) in told
    assert ("replanned", 1, device) in told
    assert not [kind for kind, _, _ in told if kind == "device_lost"]
    for metrics in result.metrics[1:]:
        assert device not in {t.sender for t in metrics.traffic}


def test_who_has_no_part_in_the_plan_just_leaves(tmp_path: Path):
    plan, engine = write_small_job(tmp_path, rounds=2, helped=True), LeavingEngine(IDLE)
    result = execute(plan, run_dir=tmp_path / "run", engine=engine)
    assert result.manifest.epoch == 0
    assert engine.gone == {IDLE}


def test_without_a_plan_that_does_without_it_the_run_ends_and_can_be_resumed(tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=3, helped=True)
    engine, folder = LeavingEngine(OWNER), tmp_path / "run"
    with pytest.raises(RunError, match=f"{OWNER} leaves after round 1 of 3") as caught:
        execute(plan, run_dir=folder, engine=engine, on_loss="stop")
    assert caught.value.exit_code == 20
    assert f"--resume {folder}" in str(caught.value.hint)
    assert engine.gone == {OWNER}
    whole = execute(plan, run_dir=tmp_path / "whole")
    resumed = execute(None, resume=folder)
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256
