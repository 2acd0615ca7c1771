"""Every cell of the matrix on the embedded engine; what needs processes is in ``engines``."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from gaisnet.errors import RunError
from gaisnet.executor.engines import Address, LocalEngine, Parcel
from gaisnet.executor.frames import read_header
from gaisnet.executor.run import RunResult, execute
from gaisnet.schema.run import Event
from gaisnet.testing import write_small_job
from tests.executor.faults.fragile import FragileEngine
from tests.executor.faults.matrix import FAULTS, PHASES, ROLES, Cell, cells, outcome_of, reason_of
from tests.executor.faults.spoiled import spoiled

DEVICE = {"owner": "owner-b", "holder": "owner-c", "edge": "edge-0"}
ENTRY = "owner-a"
"""The owner that asks."""
ROUNDS, ROUND = 3, 2
"""The gate needs some norms before it can call one of them an outlier."""
METHODS = {
    "distributing": "set_modules",
    "forward": "forward",
    "backward": "backward",
    "averaging": "get_modules",
    "checkpointing": "export_optimizers",
    "inference": "advance",
}
KINDS = {"forward": "activation", "backward": "gradient", "inference": "activation"}
DOCUMENT = Path(__file__).parents[3] / "docs" / "faults.md"


class FaultyEngine(FragileEngine):
    """Does what a cell says, once, in a round's phase."""

    def __init__(self, cell: Cell) -> None:
        super().__init__(self._lose)
        self.cell = cell
        self.device = DEVICE[cell.role]
        if (cell.phase, cell.role) == ("inference", "owner"):
            self.device = ENTRY
        if (cell.phase, cell.role) == ("backward", "holder") and cell.fault != "kill":
            self.device = "edge-0"  # nothing is tuned below the other holder's stage
        self.round: int | None = None
        self._old: Any = None
        self._done = False

    def follow(self, event: Event) -> None:
        if event.kind == "round_started":
            self.round = event.round
        elif event.kind == "round_closed" and event.round == ROUNDS - 1:
            self.round = ROUND if self.cell.phase == "inference" else None

    def place(self, address: Address, blueprint: Any) -> None:
        if self._lost_now("joining"):
            self.gone.add(self.device)
        super().place(address, blueprint)

    def _lost_now(self, phase: str) -> bool:
        due = phase == "joining" or self.round == ROUND
        return self.cell.fault == "kill" and self.cell.phase == phase and due

    def _lose(self, address: Address, method: str) -> None:
        if METHODS.get(self.cell.phase) == method and self._lost_now(self.cell.phase):
            self.gone.add(self.device)

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        frame: Any = parcel
        if self._is_meant(frame, receiver):
            if self.round == ROUND and not self._done:
                frame.frame = spoiled(self.cell.fault, frame.frame, self._old)
                self._done = True
            else:
                self._old = bytes(frame.frame)
        return super().send(parcel, receiver)

    def _is_meant(self, parcel: Any, receiver: Address) -> bool:
        sender, there = parcel.address, receiver
        if self.cell.fault == "kill":
            return False
        if sender.device != self.device or sender.device == there.device:
            return False
        kind = read_header(parcel.frame).kind
        if (sender.service.startswith("serve")) != (self.cell.phase == "inference"):
            return False
        return bool(kind == KINDS.get(self.cell.phase, "modules"))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_job(tmp_path_factory.mktemp("job"), rounds=ROUNDS, helped=True)


@pytest.fixture(scope="module")
def whole(plan: Path) -> RunResult:
    return execute(plan, run_dir=plan.parent / "whole")


def on_devices() -> list[Cell]:
    """Those of devices; one that is taken away stands for all ways to lose one."""
    possible = [cell for cell in cells() if reason_of(cell) is None and cell.role != "driver"]
    return [cell for cell in possible if cell.fault not in ("freeze", "slow", "disconnect")]


@pytest.mark.parametrize("cell", on_devices(), ids=str)
def test_a_fault_of_a_device_has_its_outcome(
    plan: Path, whole: RunResult, tmp_path: Path, cell: Cell
):
    engine, folder = FaultyEngine(cell), tmp_path / "run"
    outcome = outcome_of(cell)
    if outcome in ("goes on", "left out, goes on", "unchanged", "left out"):
        result = execute(plan, run_dir=folder, engine=engine, on_event=engine.follow)
        assert result.manifest.status == "done"
        assert result.manifest.epoch == (1 if str(outcome).endswith("goes on") else 0)
        left_out = {device for m in result.metrics for device in m.rejected}
        assert left_out == ({engine.device} if str(outcome).startswith("left out") else set())
        same = result.manifest.tunable_sha256 == whole.manifest.tunable_sha256
        # Who holds a stage makes no difference to the bits; who owns data does, unless its last
        # update has come.
        late = ("checkpointing", "inference", "shutdown")
        assert same == (cell.role != "owner" or cell.phase in late)
        return
    with pytest.raises(RunError) as caught:
        execute(plan, run_dir=folder, engine=engine, on_event=engine.follow)
    if outcome == "not begun":
        assert caught.value.exit_code == 20
        assert not folder.exists()
        return
    assert caught.value.exit_code == int(str(outcome).split()[1])
    assert f"--resume {folder}" in str(caught.value.hint)
    resumed = execute(None, resume=folder)
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


@pytest.mark.parametrize(
    "cell", [c for c in cells() if c.fault == "full" and reason_of(c) is None], ids=str
)
def test_a_full_disk_ends_the_run_with_all_that_was_written(
    plan: Path, whole: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: Cell
):
    folder, real = tmp_path / "run", os.fsync
    filled = {"checkpointing": f"checkpoints/round-{ROUND}", "inference": "answers"}
    marker = folder / filled.get(cell.phase, "answers/ask.json")

    def full(descriptor: int) -> None:
        if marker.exists():
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left") as caught:
        execute(plan, run_dir=folder, engine=LocalEngine())
    assert caught.value.exit_code == 20
    assert f"--resume {folder}" in str(caught.value.hint)
    monkeypatch.setattr(os, "fsync", real)
    resumed = execute(None, resume=folder)
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


def test_the_document_says_the_same_of_every_cell():
    rows = re.findall(r"^\| (\w+) \| (\w+) \|(.*)\|$", DOCUMENT.read_text(), flags=re.M)
    told = {
        Cell(fault, phase, role): word.strip()
        for fault, phase, words in rows
        if fault in FAULTS
        for role, word in zip(ROLES, words.split("|"), strict=True)
    }
    assert told == {cell: outcome_of(cell) or "–" for cell in cells()}
    assert len(told) == len(FAULTS) * len(PHASES) * len(ROLES)


@pytest.mark.parametrize("fault", ["freeze", "slow", "disconnect"])
def test_however_a_device_is_lost_the_outcome_is_the_same(fault: str):
    lost = [cell for cell in cells() if cell.fault == fault and cell.role != "driver"]
    assert lost
    assert all(outcome_of(c) == outcome_of(Cell("kill", c.phase, c.role)) for c in lost)
