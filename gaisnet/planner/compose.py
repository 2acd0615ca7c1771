"""``plan``: from a job's files to a plan with its predictions and certificates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gaisnet.planner.assemble import assemble, make_roster
from gaisnet.planner.explaining import explain as explained
from gaisnet.planner.inputs import Inputs, read_inputs
from gaisnet.planner.robust import with_fallbacks
from gaisnet.planner.schemes import choose_clusters
from gaisnet.schema.job import Objective, Scheme
from gaisnet.schema.plan import Plan, Slack

__all__ = ["overridden", "plan", "plan_inputs"]

Progress = Callable[[str, float | None], None]


def plan(
    job_path: str | Path,
    *,
    output: str | Path | None = None,
    scheme: Scheme | None = None,
    objective: Objective | None = None,
    clusters: int | None = None,
    gap: float | None = None,
    slack: Slack | None = None,
    survive: int | None = None,
    explain: bool = False,
    seed: int | None = None,
    time_limit_s: float | None = None,
    calibration: str | Path | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Who holds what, who is clustered with whom, who serves whom, and the proof.

    The same files, arguments and tool versions give the same plan, byte for byte, unless the job
    sets ``search.time_limit_s``.

    Args:
        job_path: The job; it names the fleet and the profile.
        output: Where the plan will be written: paths in it are relative to that file's folder
            (by default the job's).
        scheme: Instead of the job's.
        objective: Instead of the job's.
        clusters: Instead of the job's ``clustering.clusters``.
        gap: Instead of the job's ``search.gap``: where the searches may stop.
        slack: Instead of the job's ``constraints.memory_slack`` and ``time_slack``.
        survive: Instead of the job's ``robust.survive``.
        explain: Whether the plan's explanation is to be complete, which takes more solves.
        seed: Instead of the job's.
        time_limit_s: Instead of the job's ``search.time_limit_s``: marks the plan.
        calibration: File of a calibration instead of the job's.
        progress: Told what is being worked out, and the share that is done.

    Raises:
        InputError: A file is missing, malformed or inconsistent.
        MismatchError: The profile is not of the job's model, tunable modules or optimizer.
        InfeasibleError: No plan satisfies the constraints; says which binds and what mends it.
    """
    inputs = read_inputs(job_path, calibration)
    changes: dict[str, Any] = {"scheme": scheme, "objective": objective, "clusters": clusters}
    changes |= {"gap": gap, "slack": slack, "survive": survive, "seed": seed}
    changes |= {"time_limit_s": time_limit_s}
    folder = Path(output or job_path).parent
    return plan_inputs(overridden(inputs, **changes), folder, explain=explain, progress=progress)


@np.errstate(over="ignore")
def plan_inputs(
    inputs: Inputs, folder: Path, *, explain: bool = False, progress: Progress | None = None
) -> Plan:
    """``plan`` from files already read; paths in it are relative to ``folder``.

    A figure so extreme that a sum overflows is infinite, and so never chosen.
    """
    roster = make_roster(inputs)
    choice = choose_clusters(roster)
    made = assemble(inputs, folder, roster, choice)
    told = explained(made, roster, choice, complete=explain, progress=progress)
    made = made.model_copy(update={"explanation": told})
    return with_fallbacks(made, inputs, progress) if inputs.job.robust.survive else made


def overridden(
    inputs: Inputs,
    *,
    clusters: int | None = None,
    gap: float | None = None,
    time_limit_s: float | None = None,
    slack: Slack | None = None,
    survive: int | None = None,
    **others: Any,
) -> Inputs:
    """The inputs with what was given instead of the job's own: as ``plan`` takes it.

    Args:
        inputs: As read.
        clusters: ``clustering.clusters``.
        gap: ``search.gap``.
        time_limit_s: ``search.time_limit_s``.
        slack: ``constraints.memory_slack`` and ``time_slack``.
        survive: ``robust.survive``.
        others: Fields of the job itself. What is None stays as it is.
    """
    job = inputs.job
    changes = {name: value for name, value in others.items() if value is not None}
    if clusters is not None:
        changes["clustering"] = job.clustering.model_copy(update={"clusters": clusters})
    limits = {"gap": gap, "time_limit_s": time_limit_s}
    limits = {name: value for name, value in limits.items() if value is not None}
    changes["search"] = job.search.model_copy(update=limits)
    if slack is not None:
        margins = {"memory_slack": slack.memory, "time_slack": slack.time}
        changes["constraints"] = job.constraints.model_copy(update=margins)
    if survive is not None:
        changes["robust"] = job.robust.model_copy(update={"survive": survive})
    return replace(inputs, job=job.model_copy(update=changes))
