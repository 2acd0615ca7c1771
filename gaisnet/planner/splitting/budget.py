"""How much a search may still spend, and what it came to."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from gaisnet.planner.splitting.solution import Segment

__all__ = ["RELATIVE_TOLERANCE", "Budget", "Found"]

RELATIVE_TOLERANCE = 1e-9
"""Two values closer than this are equal; searches do not look for smaller improvements."""


@dataclass
class Budget:
    """Nodes, and if asked for seconds, that a search may spend; shared by its parts."""

    node_limit: int | None = None
    time_limit_s: float | None = None
    nodes: int = 0
    _started_s: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall-clock time since the budget was made."""
        return time.monotonic() - self._started_s

    @property
    def exhausted(self) -> bool:
        """Has one of the limits been reached?"""
        if self.node_limit is not None and self.nodes >= self.node_limit:
            return True
        return self.time_limit_s is not None and self.seconds >= self.time_limit_s

    def share(self, part: float) -> Budget:
        """A budget of its own of ``part`` of what is left; hand it to ``spend`` afterwards."""
        left = None
        if self.node_limit is not None:
            left = int(part * max(self.node_limit - self.nodes, 0))
        return Budget(left, self.time_limit_s, _started_s=self._started_s)

    def spend(self, share: Budget) -> None:
        """Count the nodes of a share."""
        self.nodes += share.nodes


@dataclass(frozen=True)
class Found:
    """Outcome of a search below a cutoff."""

    path: list[Segment] | None
    """Best chain that is better than the cutoff, if one was found."""
    value: float
    """Its value; the cutoff where there is none."""
    bound: float
    """No chain is better than this; equals ``value`` when the search was complete."""
