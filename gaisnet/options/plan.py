"""Options of ``gaisnet plan``, beside those of its searches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gaisnet.errors import UsageError
from gaisnet.options.common import PathArgument, PathOption

if TYPE_CHECKING:
    from gaisnet.schema.plan import Slack

__all__ = [
    "BytesWeight",
    "Clusters",
    "Diff",
    "Explain",
    "Gap",
    "JobFile",
    "Lost",
    "Objective",
    "Replan",
    "Scheme",
    "SlackText",
    "Survive",
    "flag",
    "slack",
]

Option, Argument = typer.Option, typer.Argument

JobFile = Annotated[Path | None, PathArgument(metavar="JOB", help="The job file.")]
Scheme = Annotated[
    Literal["hfsl", "fl", "sl", "sfl-v1", "sfl-v2", "central"] | None,
    Option("--scheme", help="Instead of the job's."),
]
Clusters = Annotated[
    int | None, Option("--clusters", min=1, help="How many; else the job's, or the best.")
]
Objective = Annotated[
    Literal["latency", "period", "makespan", "energy"] | None,
    Option("--objective", help="What a split minimises; else the job's."),
]
Gap = Annotated[
    float | None, Option("--gap", min=0, help="Relative gap that must be proven, or exit code 13.")
]
SlackText = Annotated[
    str | None,
    Option(
        "--slack",
        metavar="PART",
        help="Keep this part free: 0.2 of memory and time, or memory=0.1,time=0.2.",
    ),
]
Survive = Annotated[
    int | None,
    Option("--survive", min=0, max=1, help="1: a re-plan for each single loss, or exit code 12."),
]
Explain = Annotated[
    bool,
    Option("--explain", help="Solve again for runners-up, contributions and upgrades."),
]
Diff = Annotated[
    tuple[Path, Path] | None,
    PathOption("--diff", metavar="PLAN PLAN", help="Show what differs between two plans."),
]
Replan = Annotated[
    Path | None,
    PathOption("--replan", metavar="PLAN", help="Go on with this plan without devices --lost."),
]
Lost = Annotated[
    str | None, Option("--lost", metavar="DEVICES", help="Devices that are gone: a,b,c.")
]
BytesWeight = Annotated[
    float | None,
    Option(
        "--bytes-weight",
        min=0,
        help="Of a re-plan: what moving the whole model once counts like, in steps.",
    ),
]


def slack(text: str | None) -> Slack | None:
    """Margins from ``0.2`` (of memory and time) or ``memory=0.1,time=0.2``.

    Raises:
        UsageError: It is neither, or a part is not from 0 to below 1.
    """
    if text is None:
        return None
    from gaisnet.schema.plan import Slack

    values = _parts(text)
    if values is None or not values.keys() <= {"memory", "time"}:
        raise UsageError(f"--slack {text!r} names no parts", hint="such as 0.2 or memory=0.1")
    if not all(0.0 <= value < 1.0 for value in values.values()):
        raise UsageError(f"--slack {text!r}: parts are from 0 to below 1")
    return Slack(**values)


def _parts(text: str) -> dict[str, float] | None:
    """Numbers by name, or the one number for both; None where something is neither, or twice."""
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if "=" not in text:
        pairs = [(name, "=", text) for name in ("memory", "time")]
    try:
        values = {name: float(value) for name, _, value in pairs}
    except ValueError:
        return None
    return values if len(values) == len(pairs) else None


def flag(name: str) -> str:
    """The option of a setting of the planner's."""
    return {"time_limit_s": "--time-limit"}.get(name, f"--{name.replace('_', '-')}")
