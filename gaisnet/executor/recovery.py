"""Another plan for a run that has lost devices, over those that are left."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from gaisnet.errors import GaisnetError, OutputError, QuorumError
from gaisnet.executor.engines import Engine
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.finetune import check_hidden
from gaisnet.executor.planfiles import PlanFiles, read_plan
from gaisnet.planner import inputs_of, replan
from gaisnet.schema.files import canonical_json, write_atomic
from gaisnet.schema.plan import Plan

__all__ = ["OnLoss", "go_on_without"]

OnLoss = Literal["replan", "stop"]
"""What a run does when a device is lost."""


def go_on_without(
    error: LostDeviceError,
    known: Collection[str],
    files: PlanFiles,
    first: Plan,
    engine: Engine,
    target: Path,
) -> PlanFiles:
    """Plan again without the devices that are lost, and write the new plan to ``target``.

    Owners among them are left out, and the others are re-weighted to one, if those that are left
    have the quorum of the samples that the run began with.

    Args:
        error: What was found.
        known: Devices of which it was known before.
        files: The plan until now.
        first: The plan that the run began with.
        engine: Knows which devices are lost.
        target: A new file in the run's folder.

    Raises:
        LostDeviceError: There is no plan without them; the hint says why.
        QuorumError: Too few owners are left.
        OutputError: The plan cannot be written.
    """
    fleet = {device.id for device in files.fleet.devices}
    lost = {*engine.watch(), *known, str(error.where), *(fleet - engine.reach(fleet))} & fleet
    try:
        inputs = inputs_of(files.plan, files.path)
        plan = replan(files.plan, sorted(lost), inputs, folder=target.parent)
        check_hidden(plan, files.job.fine_tuning.privacy.secure_aggregation)
        _check_quorum(files, first, plan, lost)
        target.parent.mkdir(exist_ok=True)
        write_atomic(target, canonical_json(plan), force=True)
        return read_plan(target)
    except (QuorumError, OutputError):
        raise
    except OSError as fault:
        raise OutputError(f"cannot write: {fault.strerror}", where=str(target)) from fault
    except GaisnetError as none:
        error.hint = f"start it again: there is no plan without it ({none.message})"
        raise error from none


def _check_quorum(files: PlanFiles, first: Plan, plan: Plan, lost: Collection[str]) -> None:
    total, left = _samples(first), _samples(plan)
    quorum = files.job.fine_tuning.quorum
    if left < quorum * total:
        raise QuorumError(
            f"without {', '.join(sorted(lost))}, owners of {left} of {total} samples are left, "
            f"which is less than the quorum of {quorum:.0%}",
            hint="start them again, or lower fine_tuning.quorum",
        )


def _samples(plan: Plan) -> int:
    return sum(owner.samples for cluster in plan.clusters for owner in cluster.owners)
