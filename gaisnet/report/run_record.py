"""A run's folder as it was left: its manifest, its metrics, and the plan that it ran."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from gaisnet.schema.files import read_lines, read_model, resolve
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.manifest import MANIFEST, read_manifest
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import Event, LinkTraffic, RoundMetrics, RunManifest, ServiceMetrics

__all__ = ["RunRecord", "TierTraffic", "by_tier", "read_run", "total_by_link"]

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything that a report of a run needs."""

    folder: Path
    manifest: RunManifest
    rounds: tuple[RoundMetrics, ...]
    services: tuple[ServiceMetrics, ...]
    events: tuple[Event, ...]
    plan: Plan | None
    """``None`` if the plan is no longer where the manifest says."""
    tiers: Mapping[str, str]
    """Tier of each device; empty if the fleet is no longer where the plan says."""

    def accuracies(self) -> list[tuple[int, float]]:
        """Rounds done and accuracy, wherever it was evaluated; 0 is before tuning."""
        before = self.manifest.eval_accuracy_before
        points = [(m.round + 1, m.eval_accuracy) for m in self.rounds]
        return [(n, share) for n, share in [(0, before), *points] if share is not None]

    def times_s(self) -> tuple[float, float, float]:
        """Mean round time: predicted, virtual and wall."""
        tuned, count = self.rounds, max(len(self.rounds), 1)
        return (
            sum(m.predicted_s for m in tuned) / count,
            sum(m.virtual_s for m in tuned) / count,
            sum(m.wall_s for m in tuned) / count,
        )

    def traffic(self) -> tuple[LinkTraffic, ...]:
        """What tuning and inference sent, over all rounds and services, by directed link."""
        tuning = (metrics.traffic for metrics in self.rounds)
        inference = (metrics.traffic for metrics in self.services)
        return total_by_link(itertools.chain(*tuning, *inference))

    def document(self) -> dict[str, Any]:
        """The run for programs."""
        return {
            "run_dir": str(self.folder),
            "manifest": self.manifest.model_dump(mode="json"),
            "rounds": [metrics.model_dump(mode="json") for metrics in self.rounds],
            "services": [metrics.model_dump(mode="json") for metrics in self.services],
        }


@dataclass(frozen=True)
class TierTraffic:
    """What was sent between two tiers, in one direction."""

    sender: str
    receiver: str
    frames: int
    payload_bytes: int
    frame_bytes: int


def read_run(folder: Path) -> RunRecord:
    """Reads a run's folder; a plan or fleet that has moved away is left out.

    Raises:
        InputError: There is no run in the folder, or a file of it is malformed.
    """
    manifest = read_manifest(folder)
    plan_path = resolve(folder / MANIFEST, manifest.plan_path)
    plan = read_model(plan_path, Plan) if plan_path.is_file() else None
    return RunRecord(
        folder=folder,
        manifest=manifest,
        rounds=_lines(folder / "metrics.jsonl", RoundMetrics),
        services=_lines(folder / "services.jsonl", ServiceMetrics),
        events=_lines(folder / "events.jsonl", Event),
        plan=plan,
        tiers=_tiers(plan, plan_path),
    )


def _lines(path: Path, model: type[T]) -> tuple[T, ...]:
    return read_lines(path, model) if path.is_file() else ()


def _tiers(plan: Plan | None, plan_path: Path) -> dict[str, str]:
    if plan is None:
        return {}
    path = resolve(plan_path, plan.inputs.fleet.path)
    if not os.path.isfile(path):
        return {}
    return {device.id: device.tier for device in read_model(path, Fleet).devices}


def total_by_link(traffic: Iterable[LinkTraffic]) -> tuple[LinkTraffic, ...]:
    """Sums what was sent over each directed link, sorted by link."""
    totals: dict[tuple[str, str], list[int]] = {}
    for link in traffic:
        counts = totals.setdefault((link.sender, link.receiver), [0, 0, 0])
        for index, count in enumerate((link.frames, link.payload_bytes, link.frame_bytes)):
            counts[index] += count
    return tuple(
        LinkTraffic(sender=a, receiver=b, frames=n, payload_bytes=payload, frame_bytes=frame)
        for (a, b), (n, payload, frame) in sorted(totals.items())
    )


def by_tier(traffic: Iterable[LinkTraffic], tiers: Mapping[str, str]) -> list[TierTraffic]:
    """Sums what was sent between tiers; a device of unknown tier stands for itself."""
    renamed = (
        link.model_copy(
            update={
                "sender": tiers.get(link.sender, link.sender),
                "receiver": tiers.get(link.receiver, link.receiver),
            }
        )
        for link in traffic
    )
    return [TierTraffic(**link.model_dump()) for link in total_by_link(renamed)]
