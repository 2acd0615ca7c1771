"""When a service does what it was asked for: each issuer's calls in the order of their issue."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from gaisnet.errors import RunError

__all__ = ["Line", "Queues", "Turn"]


class Turn(NamedTuple):
    """When a service does what it was asked for."""

    lane: str
    """Of whoever asked."""
    number: int
    """Counts what it has asked that service for."""


class Line:
    """Lets numbered callers through one at a time, in the order of their numbers.

    Args:
        limit_s: How long one waits for its turn.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._next = 0
        self._waiting: dict[int, asyncio.Event] = {}

    async def enter(self, number: int) -> None:
        """Wait until all that have smaller numbers have left."""
        if number != self._next:
            turn = self._waiting.setdefault(number, asyncio.Event())
            await asyncio.wait_for(turn.wait(), self._limit_s)

    def leave(self) -> None:
        """Let the next one in."""
        self._next += 1
        event = self._waiting.pop(self._next, None)
        if event is not None:
            event.set()


class Queues:
    """The lines of a device's services, one for each issuer and service.

    Args:
        limit_s: How long one waits for its turn.
    """

    def __init__(self, limit_s: float) -> None:
        self._lines: defaultdict[tuple[str, str], Line] = defaultdict(lambda: Line(limit_s))
        self._under_way: defaultdict[str, set[asyncio.Task[Any]]] = defaultdict(set)
        self._forgotten: set[str] = set()

    @asynccontextmanager
    async def turn(self, turn: Turn, service: str) -> AsyncIterator[None]:
        """Wait for one's turn; it lasts as long as the context.

        Raises:
            RunError: Whoever asks was forgotten.
            TimeoutError: Those before take too long.
        """
        issuer, line = _issuer(turn.lane), self._lines[turn.lane, service]
        if issuer in self._forgotten:
            raise RunError(f"{issuer} was given up; what it asks for comes too late")
        task = asyncio.current_task()
        assert task is not None
        self._under_way[issuer].add(task)
        try:
            await line.enter(turn.number)
            try:
                yield
            finally:
                line.leave()
        finally:
            self._under_way[issuer].discard(task)

    def forget(self, issuer: str) -> None:
        """Cancel what an issuer waits for, and refuse whatever it asks from now on."""
        self._forgotten.add(issuer)
        for task in self._under_way.pop(issuer, ()):
            task.cancel()


def _issuer(lane: str) -> str:
    return lane.partition("/")[0]
