"""What the splitting solver answers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["Objective", "Segment", "SplitEvaluation", "SplitSolution", "Status"]

Objective = Literal["latency", "period", "makespan", "energy"]
Status = Literal["optimal", "feasible", "infeasible"]
Segment = tuple[int, int, int]
"""``(device_index, first_unit, last_unit)``, both units included."""


class SplitEvaluation(BaseModel):
    """The figures of one given split; fields can also be read as items."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_s: float
    """All compute and all transfers, one after the other; infinite over a missing link."""
    period_s: float
    """Longest of all devices' busy times and all links' transfers (forward + backward)."""
    energy_j: float
    makespan_s: float
    """latency + (M - 1) * period."""
    memory_bytes: tuple[float, ...]
    """Per device, in the problem's order."""
    cost: float = 0.0
    """Money for the busy time of one mini-batch, in the currency of ``price_per_hour``."""
    violations: tuple[str, ...]
    """Every broken constraint in words; empty when the split is allowed."""

    def __getitem__(self, name: str) -> Any:
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)


class SplitSolution(BaseModel):
    """A split with its certificate.

    ``value``, ``bound`` and ``gap`` are None and ``segments`` is empty when the problem is
    infeasible; ``reason`` then says what makes it so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objective: Objective
    status: Status
    """``optimal``: no split is better by more than a relative 1e-9. ``feasible``: a limit
    stopped the search, and no split can be below ``bound``."""
    value: float | None
    segments: list[Segment]
    bound: float | None
    """Proven lower bound of the objective."""
    gap: float | None
    """(value - bound) / value; 0 when the value is 0."""
    solver: str
    seconds: float
    """Wall-clock time spent; the only field that differs between equal runs."""
    nodes: int = 0
    """Search labels or branch-and-bound nodes spent."""
    reason: str | None = None
