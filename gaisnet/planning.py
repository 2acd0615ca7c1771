"""What ``gaisnet plan`` can be asked for, one function each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gaisnet.errors import UnprovenError, UsageError

if TYPE_CHECKING:
    from gaisnet.report import Session
    from gaisnet.schema.plan import Plan

__all__ = ["check_one_asked", "make", "refuse_unproven"]


def check_one_asked(asked: dict[str, Any]) -> None:
    """Refuse to do several things at once, or nothing.

    Args:
        asked: What each way of asking was given, by its name; ``JOB`` is the argument.

    Raises:
        UsageError: Not exactly one thing was asked for.
    """
    given = [name for name, value in asked.items() if value]
    if not given:
        ways = ", ".join(name for name in asked if name != "JOB")
        raise UsageError("name a job to plan", hint=f"or give {ways}" if ways else None)
    if len(given) > 1:
        one, other = sorted(given[:2], key=lambda name: name == "JOB")
        raise UsageError(f"{one} takes no {other}", hint="leave out one of them")


def make(
    session: Session, job: Path, settings: dict[str, Any], output: Path | None, force: bool
) -> Plan:
    """Plan a job, write the plan and show it.

    Args:
        session: Where it is shown.
        job: The job's file.
        settings: What ``gaisnet.planner.plan`` takes beside the job.
        output: The plan's file.
        force: Whether an existing file is replaced.

    Raises:
        InputError: A file is missing, malformed or inconsistent.
        MismatchError: The profile is not of the job's model.
        InfeasibleError: No plan satisfies the constraints.
    """
    from gaisnet.report import plan_view

    with session.progress("planning"):
        from gaisnet import planner

        made = planner.plan(job, output=output, **settings)
    session.deliver(made, plan_view(made), output, force=force)
    return made


def refuse_unproven(made: Plan, gap: float | None, output: Path | None) -> None:
    """The plan stands and is written; the exit code says that the proof asked for is missing.

    Raises:
        UnprovenError: A decision's gap is wider than ``gap``.
    """
    missing = [proof for proof in made.certificates if gap is not None and proof.gap > gap]
    if missing:
        worst = max(missing, key=lambda proof: proof.gap)
        raise UnprovenError(
            f"{worst.decision}: proven only to a gap of {worst.gap:.3g}; the plan is kept",
            where=str(output) if output else None,
            hint="accept that with a larger --gap, or raise search.node_limit in the job",
        )
