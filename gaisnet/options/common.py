"""Options of every command, and lists that options are written as."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from gaisnet.errors import UsageError
from gaisnet.schema.limits import MAX_INTEGER

__all__ = [
    "ComputeChoice",
    "Force",
    "Form",
    "Output",
    "PathArgument",
    "PathOption",
    "Quiet",
    "Seed",
    "Version",
    "names",
    "numbers",
]

Option = typer.Option
PathOption = partial(typer.Option, readable=False)
"""An option that names a file or folder: whoever reads it says what is wrong, and where."""
PathArgument = partial(typer.Argument, readable=False)
"""The same of an argument."""

Form = Annotated[
    Literal["text", "json"],
    Option("--format", help="What standard output gets: tables, or one JSON document."),
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No tables and no progress.")]
Output = Annotated[Path | None, PathOption("--output", "-o", help="File to write.")]
Force = Annotated[bool, Option("--force", help="Overwrite the file if it exists.")]
Seed = Annotated[
    int | None, Option("--seed", min=0, max=MAX_INTEGER, help="Seed of everything random.")
]


def _print_version(asked: bool) -> None:
    if asked:
        from gaisnet import __version__

        typer.echo(f"gaisnet {__version__}")
        raise typer.Exit


ComputeChoice = Literal["auto", "cpu", "cuda"]
"""What ``--compute`` may say; ``auto`` is another thing for each command."""

Version = Annotated[
    bool, Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
]


def names(text: str | None) -> tuple[str, ...]:
    """Names from ``a,b,c``."""
    parts = (text or "").split(",")
    return tuple(part.strip() for part in parts if part.strip())


def numbers(flag: str, text: str | None, most: int = 2**31 - 1) -> tuple[int, ...]:
    """Numbers from ``1,4,16``, ascending; none without a text.

    Raises:
        UsageError: It is no list of positive whole numbers up to ``most``.
    """
    sizes = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(size.isdecimal() and 0 < int(size) <= most for size in sizes):
        raise UsageError(
            f"{flag} {text!r} is no list of numbers from 1 to {most}", hint="such as 1,4,16"
        )
    return tuple(sorted({int(size) for size in sizes}))
