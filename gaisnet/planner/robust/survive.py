"""What is done if any one device is lost, worked out beforehand."""

from __future__ import annotations

from collections.abc import Callable

from gaisnet.errors import InfeasibleError
from gaisnet.planner.inputs import Inputs
from gaisnet.planner.robust.replan import replan
from gaisnet.planner.robust.survivors import participants
from gaisnet.schema.plan import Fallback, Plan

__all__ = ["with_fallbacks"]


def with_fallbacks(
    plan: Plan, inputs: Inputs, progress: Callable[[str, float | None], None] | None = None
) -> Plan:
    """The plan with a fallback for each device that takes part: ``replan`` without it, in short.

    Args:
        plan: The plan.
        inputs: The files that it was made from.
        progress: Told which device is being done without, and the share that is done.
    """
    devices = participants(plan)
    found = []
    for index, device in enumerate(devices):
        if progress is not None:
            progress(f"without {device}", index / len(devices))
        found.append(_fallback(plan, device, inputs))
    return plan.model_copy(update={"fallbacks": tuple(found)})


def _fallback(plan: Plan, device: str, inputs: Inputs) -> Fallback:
    try:
        made = replan(plan, [device], inputs)
    except InfeasibleError as error:
        reason = f"{error.where}: {error.message}" if error.where else error.message
        return Fallback(lost=device, feasible=False, reason=reason, mend=error.hint)
    before = {cluster.id: cluster for cluster in plan.clusters}
    after = {cluster.id for cluster in made.clusters}
    assert made.loss is not None
    return Fallback(
        lost=device,
        feasible=True,
        takes=made.loss.takes,
        moved_bytes=made.loss.moved_bytes,
        round_s=made.predictions.round_s,
        gap=max((proof.gap for proof in made.certificates), default=0.0),
        clusters=tuple(c for c in made.clusters if before.get(c.id) != c),
        dissolved=tuple(c.id for c in plan.clusters if c.id not in after),
        cloud=made.cloud,
    )
