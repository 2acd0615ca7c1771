"""A run's folder: ``manifest.json``, ``metrics.jsonl``, ``events.jsonl`` and what lies beside.

``logs/DEVICE.log`` has what the devices say of their own work (``executor.devicelog``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from gaisnet.errors import OutputError, UsageError
from gaisnet.schema.files import canonical_json, make_folder, read_lines, write_atomic
from gaisnet.schema.manifest import MANIFEST, read_manifest
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import Event, RoundMetrics, RunManifest, ServiceMetrics
from gaisnet.schema.watch import Look, Watcher

__all__ = ["RunFolder"]

T = TypeVar("T", bound=BaseModel)

_METRICS, _EVENTS = "metrics.jsonl", "events.jsonl"
_SERVICES, _LOGS = "services.jsonl", "logs"


class RunFolder:
    """Writes what a run says of itself; every line is on the disk when a method returns.

    Args:
        path: The folder.
        on_event: Is told every event as it happens.
        watchers: Are told all that is written, after it is.
    """

    def __init__(
        self,
        path: Path,
        on_event: Callable[[Event], None] | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.path = path
        self._on_event = on_event
        self._watchers = watchers
        self._sequence = 0

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoints"

    @property
    def adapters(self) -> Path:
        """Where the tuned modules are, a folder for each domain."""
        return self.path / "adapters"

    def refuse_existing(self) -> None:
        """Raises UsageError if a run is there already."""
        if os.path.exists(self.path / MANIFEST):
            raise UsageError(
                "there is a run in this folder already",
                where=str(self.path),
                hint=f"go on with `gaisnet execute --resume {self.path}`, or name another folder",
            )

    def create(self) -> None:
        """Make the folder; raises OutputError."""
        make_folder(self.path)

    def reopen(self, rounds_done: int) -> None:
        """Go on after an interruption: lines of rounds that will be run again are dropped, and
        what a killed process left half-written.

        Raises:
            InputError: A file in it is malformed.
        """
        for path in [*self.path.rglob(".gaisnet-*.tmp"), *self.adapters.glob(".tmp-*")]:
            _remove(path)
        metrics = [m for m in self.metrics() if m.round < rounds_done]
        events = self._lines(_EVENTS, Event)
        self._rewrite(_METRICS, metrics)
        self._rewrite(_EVENTS, events)
        self._rewrite(_SERVICES, [])
        self._sequence = len(events)

    def read_manifest(self) -> RunManifest:
        """What the run is.

        Raises:
            InputError: There is no run here.
        """
        return read_manifest(self.path)

    def write_manifest(self, manifest: RunManifest) -> None:
        """Replace the manifest.

        Raises:
            OutputError: It cannot be written; the old one is untouched.
        """
        write_atomic(self.path / MANIFEST, canonical_json(manifest), force=True)

    def metrics(self) -> tuple[RoundMetrics, ...]:
        """Of all rounds so far."""
        return self._lines(_METRICS, RoundMetrics)

    def announce(self, plan: Plan, manifest: RunManifest, look: Look) -> None:
        """Tell the watchers what begins."""
        for watcher in self._watchers:
            watcher.began(plan, manifest, look)

    def add_metrics(self, metrics: RoundMetrics) -> None:
        """Add a line to ``metrics.jsonl``; raises OutputError."""
        self._append(_METRICS, [_line(metrics)])
        for watcher in self._watchers:
            watcher.round_measured(metrics)

    def add_service(self, metrics: ServiceMetrics) -> None:
        """Add a line to ``services.jsonl``; raises OutputError."""
        self._append(_SERVICES, [_line(metrics)])
        for watcher in self._watchers:
            watcher.service_measured(metrics)

    def add_logs(self, lines: Mapping[str, Sequence[str]]) -> None:
        """Add lines to ``logs/DEVICE.log``, by device; raises OutputError."""
        for device, told in lines.items():
            if told:
                make_folder(self.path / _LOGS)
                self._append(f"{_LOGS}/{device}.log", [f"{line}\n" for line in told])

    def tell(
        self,
        kind: str,
        *,
        round_index: int | None = None,
        device: str | None = None,
        detail: str = "",
    ) -> None:
        """Add an event; raises OutputError."""
        event = Event.model_validate(
            {
                "sequence": self._sequence,
                "kind": kind,
                "round": round_index,
                "device": device,
                "detail": detail,
            }
        )
        self._sequence += 1
        self._append(_EVENTS, [_line(event)])
        for watcher in self._watchers:
            watcher.told(event)
        if self._on_event is not None:
            self._on_event(event)

    def _lines(self, name: str, model: type[T]) -> tuple[T, ...]:
        path = self.path / name
        return read_lines(path, model) if path.exists() else ()

    def _rewrite(self, name: str, rows: Iterable[BaseModel]) -> None:
        write_atomic(self.path / name, "".join(map(_line, rows)), force=True)

    def _append(self, name: str, lines: Iterable[str]) -> None:
        path = self.path / name
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write("".join(lines))
                file.flush()
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror}", where=str(path)) from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _line(row: BaseModel) -> str:
    data = row.model_dump(mode="json")
    return json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
