"""What it costs that devices take over units which they do not hold yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Moving"]

Body = Sequence[tuple[str, int, int]]


@dataclass(frozen=True, kw_only=True)
class Moving:
    """Bytes that travel to a device for each unit that it begins to hold, and their price."""

    unit_bytes: tuple[int, ...]
    """``[L]`` for a device that has nothing of the unit."""
    missing: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """``[L]`` of each device that has some units already: 0, or what it lacks of them."""
    price: float
    """Objective per byte."""

    def of(self, device: str) -> tuple[int, ...]:
        """``[L]`` bytes that travel to ``device`` for each unit."""
        return self.missing.get(device, self.unit_bytes)

    def span_bytes(self, device: str, first_unit: int, last_unit: int) -> int:
        """Bytes that travel to ``device`` if it is to hold a range of units."""
        return sum(self.of(device)[first_unit : last_unit + 1])

    def chain_bytes(self, owners: Sequence[str], head: int, tail: int, body: Body) -> int:
        """Bytes that travel if owners are to hold units before ``head`` and from ``tail`` on."""
        ends = sum(sum(self.of(o)[:head]) + sum(self.of(o)[tail:]) for o in owners)
        return ends + sum(self.span_bytes(*stage) for stage in body)
