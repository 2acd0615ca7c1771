"""A front of plans in the terminal: what each is, what it takes, and which one is picked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from gaisnet.report.tables import compact_table, spaced
from gaisnet.report.units import as_bytes, as_joules, as_percent, as_seconds
from gaisnet.schema.front import Front, FrontPoint

__all__ = ["FRONT_TITLE", "front_caption", "front_headline", "front_rows", "front_view"]

FRONT_TITLE = "The front: time, energy and bytes sent for one sample, memory of all devices"
_MOST_POINTS = 40
_SETTINGS = {
    "clusters": "K",
    "objective": "least",
    "topology": "topology",
    "min_head_units": "head ≥",
    "min_tail_units": "tail ≥",
    "batch_size": "batch",
    "microbatches": "micro",
    "rank": "rank",
    "compression": "sent as",
    "local_steps": "steps",
    "cloud_every": "cloud",
}
_PREDICTED: dict[str, tuple[str, Callable[[float], str]]] = {
    "time_s": ("time", as_seconds),
    "energy_j": ("energy", as_joules),
    "payload_bytes": ("sent", as_bytes),
    "memory_bytes": ("memory", as_bytes),
    "leakage": ("leakage", as_percent),
}


def front_view(front: Front) -> RenderableType:
    """All that a search found."""
    parts: list[RenderableType] = [Text(front_headline(front), style="bold"), _points(front)]
    if front.refusals:
        parts.append(_refusals(front))
    notes = [Text(f"not varied: {text}", style="dim") for text in front.left_out]
    if not front.reproducible:
        warning = "warning: a wall-clock limit was in force: the same inputs may give another front"
        notes.append(Text(warning, style="yellow"))
    return spaced(*parts, *notes)


def front_headline(front: Front) -> str:
    """How many plans of how many combinations, and what that is worth."""
    how = {
        "enumeration": "all of them planned, or bettered for certain: the front is exact",
        "nsga2": "sampled by NSGA-II: there may be better ones",
        "tpe": "sampled by TPE: there may be better ones",
    }
    done = f"{front.planned} planned, {front.pruned} ruled out, {front.infeasible} infeasible"
    return (
        f"Search {front.name}: {len(front.points)} plans that none betters in everything, "
        f"of {front.combinations} combinations ({done}); {how[front.method]}"
    )


def front_rows(front: Front) -> tuple[list[str], list[tuple[FrontPoint, list[str]]]]:
    """Headings, and the cells of each point: what varies of the settings, and what is predicted."""
    varied = [name for name in _SETTINGS if _varies(front.points, name)]
    known = {n: [getattr(point.measures, n) for point in front.points] for n in _PREDICTED}
    shown = [name for name, values in known.items() if None not in values]
    heads = [*(_SETTINGS[name] for name in varied), *(_PREDICTED[name][0] for name in shown)]
    rows = []
    for point in _most(front):
        cells = [str(getattr(point.setting, name)) for name in varied]
        cells += [_PREDICTED[name][1](getattr(point.measures, name)) for name in shown]
        rows.append((point, cells))
    return heads, rows


def _points(front: Front) -> Table:
    heads, rows = front_rows(front)
    table = compact_table(FRONT_TITLE, "plan", *heads, left=1)
    for point, cells in rows:
        picked = point.id == front.picked
        mark = f"{point.id} ◀" if picked else point.id
        table.add_row(mark, *cells, style="bold" if picked else None)
    table.caption = f"◀ {front_caption(front)}"
    table.caption_justify = "left"
    return table


def front_caption(front: Front) -> str:
    """How the front was compared and picked from, and what is not shown of it."""
    left_out = len(front.points) - len(_most(front))
    more = f"; {left_out} more are in the front file" if left_out else ""
    return f"picked by {front.pick}; compared by {', '.join(front.measures)}{more}"


def _most(front: Front) -> list[FrontPoint]:
    """The first of the front, and the picked one."""
    first = front.points[:_MOST_POINTS]
    return [*first, *(p for p in front.points[_MOST_POINTS:] if p.id == front.picked)]


def _varies(points: Sequence[FrontPoint], name: str) -> bool:
    return len({getattr(point.setting, name) for point in points}) > 1 or name == "clusters"


def _refusals(front: Front) -> Table:
    table = compact_table("Combinations without a plan", "how many")
    table.add_column("why")
    for refusal in front.refusals[:5]:
        table.add_row(str(refusal.combinations), Text(refusal.reason))
    return table
