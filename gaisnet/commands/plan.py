"""``gaisnet plan``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaisnet import planning
from gaisnet.errors import UsageError
from gaisnet.options import common as opt
from gaisnet.options import plan as planned
from gaisnet.options import search as find
from gaisnet.options.together import check_belonging, check_one_asked

if TYPE_CHECKING:
    from pathlib import Path

    from gaisnet.report import Session

__all__ = ["plan"]


def plan(
    job: planned.JobFile = None,
    output: opt.Output = None,
    scheme: planned.Scheme = None,
    clusters: planned.Clusters = None,
    objective: planned.Objective = None,
    gap: planned.Gap = None,
    slack: planned.SlackText = None,
    survive: planned.Survive = None,
    explain: planned.Explain = False,
    diff: planned.Diff = None,
    replan: planned.Replan = None,
    lost: planned.Lost = None,
    bytes_weight: planned.BytesWeight = None,
    time_limit: find.TimeLimit = None,
    calibration: find.CalibrationFile = None,
    calibrate: find.Calibrate = None,
    clock: find.Clock = None,
    search: find.SearchFor = None,
    pick: find.Pick = None,
    sampler: find.Sampler = None,
    storage: find.Storage = None,
    study: find.Study = None,
    front: find.FrontFile = None,
    front_dir: find.FrontFolder = None,
    seed: opt.Seed = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
    force: opt.Force = False,
) -> None:
    """Decide who holds what, who is clustered with whom, and who serves whom, with proof."""
    from gaisnet.report import Session
    from gaisnet.schema.files import check_new

    with Session(format, quiet=quiet) as session:
        ways = {"JOB": job, "--replan": replan, "--diff": diff}
        check_one_asked(ways, "name a job to plan", "or give --replan or --diff")
        settings: dict[str, Any] = {"scheme": scheme, "objective": objective}
        settings |= {"clusters": clusters, "slack": planned.slack(slack), "seed": seed}
        settings |= {"time_limit_s": time_limit, "explain": explain}
        more = {"search": search, "calibrate": calibrate, "calibration": calibration}
        check_belonging("a job", job, {}, _flagged({**settings, **more}))
        changes: dict[str, Any] = {"lost": lost, "bytes_weight": bytes_weight}
        _check_replan(replan, changes)
        searched: dict[str, Any] = {"pick": pick, "sampler": sampler, "storage": storage}
        searched |= {"study": study, "front": front, "front_dir": front_dir}
        check_belonging("--search", search, {}, _flagged(searched))
        check_belonging("--calibrate", calibrate, {}, {"--clock": clock})
        check_new(output, force=force)
        settings |= {"gap": gap, "survive": survive}
        if diff is not None:
            planning.compare(session, diff, output, force)
        elif job is not None and calibrate is not None:
            planning.calibrate(session, job, calibrate, clock, output, force)
        elif job is not None and search is not None:
            searched |= {"calibration": calibration}
            planning.search(session, job, search, settings, searched, output, force)
        else:
            settings |= {"explain": explain, "calibration": calibration}
            _plan(session, job or replan, replan is not None, settings, changes, output, force)


def _plan(
    session: Session,
    source: Path | None,
    again: bool,
    settings: dict[str, Any],
    changes: dict[str, Any],
    output: Path | None,
    force: bool,
) -> None:
    """Plan a job, or go on with a plan that lost devices (``again``); both are ``source``."""
    assert source is not None, "check_one_asked has seen to it"
    gap = settings["gap"]
    if again:
        changes = {**changes, "lost": opt.names(changes["lost"]), "gap": gap}
        made = planning.without(session, source, changes, settings["survive"], output)
    else:
        made = planning.make(session, source, {**settings, "output": output})
    planning.deliver(session, made, output, force)
    planning.refuse_fatal(session, made, source, output)
    planning.refuse_unproven(made, gap, output)


def _check_replan(replan: Path | None, changes: dict[str, Any]) -> None:
    """Raises UsageError if the options of a re-plan do not go together, or nothing is lost."""
    needed, optional = {"--lost": changes["lost"]}, {"--bytes-weight": changes["bytes_weight"]}
    check_belonging("--replan", replan, needed, optional)
    if replan is not None and not opt.names(changes["lost"]):
        raise UsageError("--lost names no device", hint="such as --lost phone,board")


def _flagged(settings: dict[str, Any]) -> dict[str, Any]:
    return {planned.flag(name): value for name, value in settings.items()}
