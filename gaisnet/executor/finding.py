"""What ``gaisnet doctor`` finds at a device."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    device: str
    check: str
    found: str
    expected: str
    ok: bool
    advice: str = ""
    """What mends it, if it is not as expected."""
