"""The one look of all tables in the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

__all__ = ["compact_table"]


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
