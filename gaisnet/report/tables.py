"""The one look of all tables in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

__all__ = ["compact_table", "spaced"]


def compact_table(title: str, *columns: str, left: int = 0) -> Table:
    """A table with a title and little ink.

    Args:
        title: Shown as it is, without markup.
        columns: Column headers.
        left: How many of the first columns are text; the others are figures, to the right.
    """
    table = Table(
        title=Text(title, style="bold"),
        title_justify="left",
        header_style="dim",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < left else "right", no_wrap=True)
    return table


def spaced(*parts: RenderableType) -> Group:
    """The parts, a blank line after each but a table, which ends in one."""
    lines = [
        (part,) if isinstance(part, Table) and not part.caption else (part, "") for part in parts
    ]
    return Group(*(each for line in lines for each in line))
