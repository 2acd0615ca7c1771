"""Which options go together: one thing is asked for, and nothing stands without what it is for."""

from __future__ import annotations

from typing import Any

from gaisnet.errors import UsageError

__all__ = ["check_belonging", "check_one_asked", "check_one_at_most"]


def check_one_asked(asked: dict[str, Any], nothing: str, hint: str) -> None:
    """Refuse to do several things at once, or nothing.

    Args:
        asked: What each way of asking was given, by its name; that of an argument has no dashes.
        nothing: What to say where nothing was asked for.
        hint: And what to do then.

    Raises:
        UsageError: Not exactly one thing was asked for.
    """
    if not any(asked.values()):
        raise UsageError(nothing, hint=hint)
    check_one_at_most(asked)


def check_one_at_most(asked: dict[str, Any]) -> None:
    """Refuse to do several things at once.

    Args:
        asked: As above.

    Raises:
        UsageError: More than one thing was asked for.
    """
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        one, other = sorted(given[:2], key=lambda name: not name.startswith("--"))
        raise UsageError(f"{one} takes no {other}", hint="leave out one of them")


def check_belonging(to: str, given: Any, needed: dict[str, Any], optional: dict[str, Any]) -> None:
    """Refuse options without what they belong to, and that without options that it needs.

    None and False are what was not given.

    Raises:
        UsageError: One stands alone.
    """
    alone = [name for name, value in {**needed, **optional}.items() if _is_given(value)]
    if not _is_given(given) and alone:
        raise UsageError(f"{alone[0]} belongs to {to}", hint=f"give {to}, or leave it out")
    missing = [name for name, value in needed.items() if not _is_given(value)]
    if _is_given(given) and missing:
        raise UsageError(f"{to} needs {missing[0]}")


def _is_given(value: Any) -> bool:
    return value is not None and value is not False
