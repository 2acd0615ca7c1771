"""What was done, task by task, as whoever runs a part of the algorithm reports it.

A task is named by its place in the journal; ``after`` names those that had to be done before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

__all__ = ["Computed", "Direction", "Entry", "Journal", "Moved", "Waited", "Work"]

Direction = Literal["forward", "backward", "turn", "update"]
"""``turn``: forward and backward at once, as the last stage does; ``update``: the step."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a call computes."""

    direction: Direction
    first_unit: int
    last_unit: int
    samples: int


@dataclass(frozen=True, slots=True)
class Computed:
    """A device computed."""

    device: str
    work: Work
    after: tuple[int, ...]
    measured_s: float | None = None
    """How long it took by the device's clock, if anybody knows."""
    kind: Literal["computed"] = "computed"


@dataclass(frozen=True, slots=True)
class Moved:
    """A frame went over a link, or stayed within a device."""

    sender: str
    receiver: str
    frame_bytes: int
    after: tuple[int, ...]
    kind: Literal["moved"] = "moved"


@dataclass(frozen=True, slots=True)
class Waited:
    """Something that takes no time happened."""

    after: tuple[int, ...]
    kind: Literal["waited"] = "waited"


Entry = Annotated[Computed | Moved | Waited, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Journal:
    """All tasks in the order in which they were issued."""

    entries: tuple[Entry, ...] = ()
    last: tuple[tuple[str, str, str, int], ...] = ()
    """What was done last: device, service, part of the service (a stage), and the task."""
