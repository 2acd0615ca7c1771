"""What a replay on the virtual clock found."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Resource", "Timeline"]

Resource = str | tuple[str, str] | None
"""What works on a task: a device, a directed link ``(sender, receiver)``, or nothing (a delay)."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """When each task ran, in seconds of virtual time since the clock's zero."""

    resources: tuple[Resource, ...]
    """What worked on each task, by task id."""
    ready_s: tuple[float, ...]
    """When all that a task waits for was done."""
    start_s: tuple[float, ...]
    """When its resource took it up."""
    finish_s: tuple[float, ...]

    @property
    def makespan_s(self) -> float:
        """When the last task ends; 0 without tasks."""
        return max(self.finish_s, default=0.0)

    @property
    def device_busy_s(self) -> dict[str, float]:
        """Seconds that each device computed."""
        busy = self._busy_s()
        return {name: seconds for name, seconds in busy.items() if isinstance(name, str)}

    @property
    def link_busy_s(self) -> dict[tuple[str, str], float]:
        """Seconds that each directed link carried frames."""
        busy = self._busy_s()
        return {pair: seconds for pair, seconds in busy.items() if isinstance(pair, tuple)}

    def queued_s(self, task: int) -> float:
        """Seconds that a task stood in its resource's queue."""
        return self.start_s[task] - self.ready_s[task]

    def _busy_s(self) -> dict[Resource, float]:
        busy: dict[Resource, float] = {}
        for resource, start, finish in zip(
            self.resources, self.start_s, self.finish_s, strict=True
        ):
            busy[resource] = busy.get(resource, 0.0) + (finish - start)
        return busy
