"""What ``gaisnet plan`` can be asked for, one function each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gaisnet.errors import InfeasibleError, UnprovenError

if TYPE_CHECKING:
    from gaisnet.planner.search import Search
    from gaisnet.report import Session
    from gaisnet.schema.plan import Plan

__all__ = [
    "calibrate",
    "compare",
    "deliver",
    "make",
    "refuse_fatal",
    "refuse_unproven",
    "search",
    "without",
]


def make(session: Session, job: Path, settings: dict[str, Any]) -> Plan:
    """Plan a job.

    Args:
        session: Where progress is shown.
        job: The job's file.
        settings: What ``gaisnet.planner.plan`` takes beside the job.

    Raises:
        InputError: A file is missing, malformed or inconsistent.
        MismatchError: The profile is not of the job's model.
        InfeasibleError: No plan satisfies the constraints; says which of them conflict, and the
            smallest mend.
    """
    with session.progress("planning") as progress:
        from gaisnet import planner

        try:
            return planner.plan(job, **settings, progress=progress)
        except InfeasibleError as error:
            apart = ("output", "explain", "calibration")
            given = {k: v for k, v in settings.items() if k not in apart}
            read = planner.read_inputs(job, settings.get("calibration"))
            inputs = planner.overridden(read, **given)
            most = {"most_devices": None} if settings.get("explain") else {}
            raise planner.with_conflict(error, inputs, progress, **most) from error


def without(
    session: Session,
    path: Path,
    changes: dict[str, Any],
    survive: int | None,
    output: Path | None,
) -> Plan:
    """Go on with a plan without devices that are lost.

    Args:
        session: Where progress is shown.
        path: The plan's file.
        changes: What ``gaisnet.planner.replan`` takes beside the plan and its inputs.
        survive: 1: with fallbacks for the next loss.
        output: Where the new plan will be written.

    Raises:
        UsageError: The fleet has no such device.
        MismatchError: A file has changed since the plan was made.
        InfeasibleError: No plan without these devices satisfies the constraints.
    """
    from gaisnet.schema.files import read_model
    from gaisnet.schema.plan import Plan

    plan = read_model(path, Plan)
    with session.progress("planning") as progress:
        from gaisnet import planner

        inputs, folder = planner.inputs_of(plan, path), (output or path).parent
        try:
            made = planner.replan(plan, inputs=inputs, folder=folder, **changes)
        except InfeasibleError as error:
            left = planner.surviving_inputs(plan, changes["lost"], inputs)
            raise planner.with_conflict(error, left, progress) from error
        return planner.with_fallbacks(made, inputs, progress) if survive else made


def search(
    session: Session,
    job: Path,
    trials: int,
    settings: dict[str, Any],
    options: dict[str, Any],
    output: Path | None,
    force: bool,
) -> None:
    """Search for a front of plans; write and show it, and the plan that is picked.

    The plan at ``output`` is of a job that is written beside it, as ``NAME.job.json``.

    Args:
        session: Shows it.
        job: The job.
        trials: Most combinations to plan.
        settings: What ``gaisnet.planner.plan`` takes instead of the job's own.
        options: ``front`` and ``front_dir``, where to write, and what ``search`` takes.
        output: File of the plan that is picked.
        force: Whether files are overwritten.

    Raises:
        GaisnetError: See ``gaisnet.planner.search.search``, ``refuse_fatal``, ``refuse_unproven``.
    """
    from gaisnet.planner.search import search as search_plans
    from gaisnet.report.front_view import front_view
    from gaisnet.schema.files import check_writable

    given = {name: value for name, value in options.items() if value is not None}
    front, folder = given.pop("front", None), given.pop("front_dir", None)
    for path in (front, *_pair(output)):
        if path is not None:
            check_writable(path, force=force)
    changes = {name: value for name, value in settings.items() if name != "explain"}
    with session.progress("searching") as progress:
        found = search_plans(
            job, trials=trials, output=front, changes=changes, progress=progress, **given
        )
        picked = found.front.picked
        made = None
        if output is not None:
            made = found.write_plan(picked, *_pair(output), force=force)
        if folder is not None:
            _write_all(found, folder, force)
    session.deliver(found.front, front_view(found.front), front, force=force)
    if folder is not None:
        session.note(f"{len(found.front.points)} plans written to {folder}")
    if made is not None:
        session.note(f"plan {picked} written to {output}")
        refuse_fatal(session, made, job, output)
        refuse_unproven(made, settings.get("gap"), output)


def _pair(output: Path | None) -> tuple[Path, ...]:
    """The plan's file, and that of its job."""
    if output is None:
        return ()
    return output, output.with_name(f"{output.stem}.job.json")


def _write_all(found: Search, folder: Path, force: bool) -> None:
    from gaisnet.schema.files import make_folder

    for point in found.front.points:
        place = folder / point.id
        make_folder(place)
        found.write_plan(point.id, place / "plan.json", place / "job.json", force=force)


def calibrate(
    session: Session,
    job: Path,
    run: Path,
    clock: Literal["virtual", "wall"] | None,
    output: Path | None,
    force: bool,
) -> None:
    """Fit the job's figures to a run; show predicted against measured, before and after.

    Raises:
        InputError: A file is missing or malformed, or the run has recorded nothing.
        MismatchError: The run is of another model or other devices.
    """
    from gaisnet.report.run_calibration_view import run_calibration_view

    with session.progress("calibrating"):
        from gaisnet import planner

        found = planner.calibrate(job, run, clock=clock)
    session.deliver(found, run_calibration_view(found), output, force=force)


def deliver(session: Session, made: Plan, output: Path | None, force: bool) -> None:
    """Write and show a plan.

    Raises:
        UsageError: The file exists and ``force`` is false.
        OutputError: It cannot be written.
    """
    from gaisnet.report import plan_view

    session.deliver(made, plan_view(made), output, force=force)


def compare(session: Session, paths: tuple[Path, Path], output: Path | None, force: bool) -> None:
    """Show what differs between two plans.

    Raises:
        InputError: One is no plan.
    """
    from gaisnet.report.plan_diff import compare_plans, plan_comparison_view
    from gaisnet.schema.files import read_model
    from gaisnet.schema.plan import Plan

    first, second = (read_model(path, Plan) for path in paths)
    found = compare_plans(first, second, (str(paths[0]), str(paths[1])))
    session.deliver(found, plan_comparison_view(found), output, force=force)


def refuse_fatal(session: Session, made: Plan, files: Path, output: Path | None) -> None:
    """The plan stands and is written; the exit code says that it does not bear every loss.

    Args:
        session: Where progress is shown.
        made: The plan.
        files: The job, or the plan that ``made`` goes on from.
        output: The plan's file.

    Raises:
        InfeasibleError: Without some device there is no plan.
    """
    if all(fallback.feasible for fallback in made.fallbacks):
        return
    from gaisnet.schema.files import resolve

    with session.progress("fatal losses") as progress:
        from gaisnet import planner

        job = resolve(output or files, made.inputs.job.path)
        error = planner.fatal_loss(made, planner.read_inputs(job), progress)
    if error is not None:
        error.where = str(output) if output else None
        error.message += "; the plan is kept" if output else ""
        raise error


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
