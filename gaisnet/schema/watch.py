"""What whoever follows a run is told while it goes on: its events, its figures, its devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from gaisnet.schema.plan import Plan
from gaisnet.schema.run import Event, RoundMetrics, RunManifest, ServiceMetrics

__all__ = ["DeviceState", "LogLevel", "Look", "Watcher"]

LogLevel = Literal["debug", "info", "warning", "error"]
"""Of a device's log: ``debug`` has every call and frame, ``info`` the steps of a round."""


@dataclass(frozen=True, slots=True)
class DeviceState:
    """How a device is, as far as whoever runs the plan knows."""

    state: Literal["idle", "computing", "silent", "lost"]
    """``silent``: it has been asked, and has not answered so far."""
    heard_s: float
    """Seconds since something was last heard of it."""
    calls: int
    """How many it has done for this run."""


Look = Callable[[], Mapping[str, DeviceState]]
"""Says how the devices are; it waits for nothing, and may be called from another thread."""


class Watcher(Protocol):
    """Follows a run; it decides nothing, and what it is told is over already."""

    def began(self, plan: Plan, manifest: RunManifest, look: Look) -> None:
        """The run begins, or goes on after an interruption."""

    def told(self, event: Event) -> None:
        """A line of ``events.jsonl``."""

    def round_measured(self, metrics: RoundMetrics) -> None:
        """A line of ``metrics.jsonl``."""

    def service_measured(self, metrics: ServiceMetrics) -> None:
        """A line of ``services.jsonl``."""
