"""Engines by name."""

from __future__ import annotations

from gaisnet.errors import UsageError
from gaisnet.executor.engines.base import Engine
from gaisnet.executor.engines.local import LocalEngine

__all__ = ["make_engine"]


def make_engine(name: str) -> Engine:
    """A new engine.

    Raises:
        UsageError: There is no engine of that name in this version.
    """
    if name == "local":
        return LocalEngine()
    if name == "ray":
        raise UsageError("the engine ray is not in this version", hint="use --engine local")
    raise UsageError(f"there is no engine {name!r}", hint="use --engine local")
