"""The matrix of faults: every cell has its outcome, or a reason why it cannot occur.

docs/faults.md says the same in words; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

__all__ = ["FAULTS", "PHASES", "ROLES", "Cell", "Outcome", "cells", "outcome_of", "reason_of"]

FAULTS = (
    "kill", "freeze", "slow", "disconnect", "corrupt", "nan", "shape", "huge", "replay", "full",
)  # fmt: skip
PHASES = (
    "joining", "distributing", "forward", "backward", "averaging", "checkpointing", "inference",
    "shutdown",
)  # fmt: skip
ROLES = ("owner", "holder", "edge", "driver")

Outcome = Literal[
    "goes on", "left out, goes on", "not begun", "unchanged", "resumed", "left out", "ends 20",
    "ends 21",
]  # fmt: skip
"""``goes on``: without the device, under another plan. ``unchanged``: the result is what it is
without the fault. ``resumed``: the run ends with its process; a resumed one gives the same bits.
``left out``: the update does not count. ``left out, goes on``: the round closes without the
device's update, and the run goes on from there without the device, under another plan. ``ends``:
with this exit code, and can be resumed."""

_DEVICE = ("kill", "freeze", "slow", "disconnect")
"""Faults of a device as a whole."""
_UPDATE = ("nan", "shape", "huge")
"""Faults of modules that a device hands back to be averaged."""
_WRITTEN = ("checkpointing", "inference", "shutdown")
"""When files are written that take room: checkpoints, answers, adapters."""
_FRAMES = {
    "owner": ("forward", "backward", "averaging", "inference"),
    "holder": ("forward", "backward", "averaging", "inference"),
    "edge": ("distributing", "averaging"),
}
"""When a role's frames go to another device; an edge that holds a stage is a holder besides."""


@dataclass(frozen=True, order=True)
class Cell:
    """What goes wrong, when, and where."""

    fault: str
    phase: str
    role: str

    def __str__(self) -> str:
        return f"{self.fault}-{self.phase}-{self.role}"


def cells() -> list[Cell]:
    """All of the matrix."""
    return [Cell(*found) for found in product(FAULTS, PHASES, ROLES)]


def outcome_of(cell: Cell) -> Outcome | None:
    """What comes of it; none if it cannot occur."""
    if reason_of(cell) is not None:
        return None
    if cell.fault == "full":
        return "ends 20"
    if cell.role == "driver":
        return "resumed" if cell.fault in ("kill", "disconnect") else "unchanged"
    if cell.fault in _DEVICE and (cell.phase, cell.role) == ("averaging", "owner"):
        return "left out, goes on"
    if cell.fault in _DEVICE:
        return {"joining": "not begun", "shutdown": "unchanged"}.get(cell.phase, "goes on")  # type: ignore[return-value]
    if cell.phase == "averaging":
        return {"owner": "left out", "holder": "ends 21", "edge": "unchanged"}[cell.role]  # type: ignore[return-value]
    return "ends 20"


def reason_of(cell: Cell) -> str | None:
    """Why a cell cannot occur; none if it can."""
    fault, phase, role = cell.fault, cell.phase, cell.role
    if fault in _DEVICE:
        return None
    if fault == "full":
        if role != "driver":
            return "a device writes nothing to its disk in a run"
        return None if phase in _WRITTEN else "nothing that takes room is written then"
    if role == "driver":
        return "no frame goes from the driver to a device in a round"
    if phase not in _FRAMES[role]:
        return "none of its frames goes to another device then"
    if fault in _UPDATE and (phase != "averaging" or role == "edge"):
        return "it hands no update to be averaged then"
    if fault == "replay" and phase == "inference":
        return "a frame is taken once, by the call that names it"
    if (phase, role) == ("averaging", "edge"):
        return "one edge has nobody to send its average to; see the tests of the gate for the cloud"
    return None
