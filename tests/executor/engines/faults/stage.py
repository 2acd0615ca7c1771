"""Where cells of the matrix are tried on Ray: a job, its devices, and what has to come of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gaisnet.executor.run import RunResult, execute
from gaisnet.testing import write_small_job
from tests.executor.engines.faults.strike import Strike
from tests.executor.faults.matrix import Cell
from tests.executor.faults.spoiled import SPOILS
from tests.executor.faults.test_matrix import ENTRY, ROUND, ROUNDS, FaultyEngine

if TYPE_CHECKING:  # importing it loads Ray, which reads its settings then
    from gaisnet.executor.engines.ray.engine import RayEngine

__all__ = ["Job", "arm", "content", "device_of", "struck"]

LIMIT_S = 60.0


def content(run: Path) -> dict[str, bytes]:
    """Adapters and answers of a run, by path."""
    files = [*run.glob("adapters/**/*"), *run.glob("answers/*")]
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(files) if p.is_file()}


@dataclass
class Job:
    """The small job in a folder, and what runs of it give on the embedded engine."""

    folder: Path
    _runs: dict[Cell | None, RunResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.plan = write_small_job(self.folder, rounds=ROUNDS, helped=True)

    def whole(self) -> RunResult:
        """A run without a fault."""
        return self._run(None)

    def without(self, cell: Cell) -> RunResult:
        """A run in which the cell's device is taken away at the cell's moment."""
        return self._run(Cell("kill", cell.phase, cell.role))

    def spoiled(self, cell: Cell) -> RunResult:
        """A run in which the cell's device sends a bad frame at the cell's moment."""
        return self._run(cell)

    def _run(self, cell: Cell | None) -> RunResult:
        if cell not in self._runs:
            folder = self.folder / str(cell or "whole")
            if cell is None:
                self._runs[cell] = execute(self.plan, run_dir=folder)
            else:
                engine = FaultyEngine(cell)
                self._runs[cell] = execute(
                    self.plan, run_dir=folder, engine=engine, on_event=engine.follow
                )
        return self._runs[cell]


def device_of(cell: Cell) -> str:
    """Which device a cell is about; at a run's end it is one that knows that it is there."""
    if (cell.phase, cell.role) == ("shutdown", "owner"):
        return ENTRY
    return FaultyEngine(cell).device


def arm(engine: RayEngine, *strikes: Strike) -> None:
    """Tell a device what to do, and all others to do nothing."""
    import ray

    told = {device: [] for device in engine.handles} | {strikes[0].device: list(strikes)}
    work_s = engine.health.patience.work_s
    asked = [
        engine.handles[device].arm.remote(work_s, *(each.model_dump_json() for each in some))
        for device, some in told.items()
    ]
    ray.get(asked, timeout=60)


@contextmanager
def struck(engine: RayEngine, cell: Cell, note: Path) -> Iterator[int]:
    """A cell's device is going to strike itself, and writes it down; gives its process's id.

    In the end the process is killed, unless all that was wrong with it were frames.
    """
    device = device_of(cell)
    process = engine.processes()[device]
    fault, phase, role = cell.fault, cell.phase, cell.role
    known = {"device": device, "round": ROUND, "note": str(note)}
    arm(engine, Strike.model_validate(known | {"fault": fault, "phase": phase, "role": role}))
    try:
        yield process
        assert note.read_text() == f"{cell}\n", "it was really done"
    finally:
        if cell.fault not in SPOILS:
            end(engine, device, process)


def end(engine: RayEngine, device: str, process: int) -> None:
    """Kill a device's process, if it is there, and wait until the engine knows."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    until = time.monotonic() + LIMIT_S
    while device not in engine.watch():
        assert time.monotonic() < until, f"{device} has ended, and nobody knows"
        time.sleep(0.05)
