"""gaisnet: fine-tune and serve a foundation model over a fleet of unequal devices."""

from __future__ import annotations

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """``__version__``, looked up only when it is asked for: the command line starts faster."""
    if name != "__version__":
        raise AttributeError(f"module 'gaisnet' has no attribute {name!r}")
    from importlib.metadata import version

    return version("gaisnet")
