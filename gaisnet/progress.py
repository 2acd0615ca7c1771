"""How far a measurement has come, for whoever shows it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Called with what is being done and the share of the whole that is done (0 to 1)."""

    def __call__(self, what: str, done: float, /) -> None: ...


def silent(what: str, done: float, /) -> None:
    """Show nothing."""
