"""What a plan does about losses: the one it was made for, and a fallback for each other one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from gaisnet.report.tables import compact_table
from gaisnet.report.units import as_bytes, as_seconds
from gaisnet.schema.plan import Fallback, Loss, Plan, Takeover

__all__ = ["fallback_rows", "fallback_table", "loss_line", "spans_text"]


def loss_line(loss: Loss) -> str:
    """What a re-plan moves."""
    takes = spans_text(loss.takes) or "no unit moves"
    return f"without {', '.join(loss.lost)}: {takes}; {as_bytes(loss.moved_bytes)} move"


def spans_text(takes: Sequence[Takeover]) -> str:
    """Who takes which units: ``edge-1 3–4, phone-2 0``."""
    return ", ".join(
        f"{t.device} {t.first_unit}" + (f"–{t.last_unit}" if t.last_unit > t.first_unit else "")
        for t in takes
    )


def fallback_table(plan: Plan) -> Table:
    """A row for each device that may be lost."""
    table = compact_table("If a device is lost", "lost", "round", "change", "moved", left=1)
    table.add_column("who takes which units")
    for row in fallback_rows(plan):
        style = "red" if row[1] == "fatal" else ""
        table.add_row(*(Text(cell, style=style) for cell in row))
    return table


def fallback_rows(plan: Plan) -> list[tuple[str, str, str, str, str]]:
    """Device, round time, its change, bytes moved, and who takes what; or why that is fatal."""
    return [_row(plan, fallback) for fallback in plan.fallbacks]


def _row(plan: Plan, fallback: Fallback) -> tuple[str, str, str, str, str]:
    if fallback.round_s is None:
        mend = f"; {fallback.mend}" if fallback.mend else ""
        return fallback.lost, "fatal", "", "", f"{fallback.reason}{mend}"
    before = plan.predictions.round_s
    change = f"{100 * (fallback.round_s / before - 1):+.0f} %" if before else ""
    ended = [f"cluster {name} ends" for name in fallback.dissolved]
    what = "; ".join(part for part in (spans_text(fallback.takes), *ended) if part)
    seconds, moved = as_seconds(fallback.round_s), as_bytes(fallback.moved_bytes)
    return fallback.lost, seconds, change, moved, what or "nothing moves"
