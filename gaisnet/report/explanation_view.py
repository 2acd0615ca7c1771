"""Why a plan is as it is: what binds it, what came next, what devices and upgrades are worth."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from gaisnet.report.tables import compact_table
from gaisnet.report.units import as_bytes, as_percent, as_seconds
from gaisnet.schema.explanation import Binding, Contribution, Explanation

__all__ = ["explanation_rows", "explanation_tables"]

_MOST_SHOWN = 8

Rows = list[tuple[str, ...]]


def explanation_rows(told: Explanation) -> dict[str, tuple[tuple[str, ...], Rows]]:
    """Title, column names and rows of each part that says something."""
    more = f"{100 * (told.factor - 1):.0f} %"
    parts: dict[str, tuple[tuple[str, ...], Rows]] = {
        "What binds the plan": (
            ("what", "where", "used", "of", "share", f"{more} more saves"),
            [_binding(each) for each in told.binding[:_MOST_SHOWN]],
        ),
        "What nearly was chosen": (
            ("decision", "instead", "worse by"),
            [
                (each.decision, each.difference, as_percent(each.worse_by))
                for each in told.runner_ups[:_MOST_SHOWN]
            ],
        ),
        "What devices are worth": (
            ("cluster", "device", "its cluster is worse without it by"),
            [_worth(each) for each in _most_worth(told)],
        ),
        f"What {more} more would buy": (
            ("cluster", "more", "where", "saves"),
            [
                (each.cluster, each.kind, each.where, as_percent(each.gain))
                for each in told.upgrades[:_MOST_SHOWN]
            ],
        ),
    }
    return {title: part for title, part in parts.items() if part[1]}


def explanation_tables(told: Explanation) -> list[RenderableType]:
    """The same as tables."""
    tables: list[RenderableType] = []
    for title, (columns, rows) in explanation_rows(told).items():
        left = 3 if title.startswith(("What nearly", "What 2")) else 2
        table = compact_table(title, *columns, left=left)
        for row in rows:
            table.add_row(*map(Text, row))
        tables.append(table)
    return tables


def _binding(binding: Binding) -> tuple[str, ...]:
    write = as_bytes if binding.kind == "memory" else as_seconds
    used, limit = ("" if v is None else write(v) for v in (binding.used, binding.limit))
    share = as_percent((binding.used or 0.0) / binding.limit) if binding.limit else ""
    saves = "" if binding.gain is None else as_percent(binding.gain)
    if binding.kind == "rule":
        saves = f"{saves}, lifted"
    place = f" ({binding.cluster})" if binding.cluster else ""
    return f"{binding.kind}{place}", binding.where, used, limit, share, saves


def _most_worth(told: Explanation) -> list[Contribution]:
    used = [each for each in told.contributions if each.value_without != each.value_with]
    without_end = float("inf")
    return sorted(
        used,
        key=lambda each: -(each.value_without or without_end) / (each.value_with or 1.0),
    )[:_MOST_SHOWN]


def _worth(each: Contribution) -> tuple[str, ...]:
    if each.value_without is None:
        return each.cluster, each.device, "no split without it"
    ratio = each.value_without / each.value_with - 1.0 if each.value_with else 0.0
    return each.cluster, each.device, as_percent(ratio)
