"""Whose loss need not cost a round."""

from __future__ import annotations

from gaisnet.executor.relay import cloud_of
from gaisnet.schema.plan import Plan

__all__ = ["dispensable_owners"]


def dispensable_owners(plan: Plan) -> frozenset[str]:
    """Owners that hold nothing but their own head and tail: once the local steps are done, the
    round can close without them.

    Whoever holds a stage of a body, or averages, is none; nor is an owner that hands its modules
    on to the next one, for the last one's are those of all.
    """
    serving = {cloud_of(plan), *(cluster.edge for cluster in plan.clusters)}
    serving |= {stage.device for cluster in plan.clusters for stage in cluster.body}
    averaged = [cluster for cluster in plan.clusters if cluster.handover == "average"]
    return frozenset(o.device for cluster in averaged for o in cluster.owners) - serving
