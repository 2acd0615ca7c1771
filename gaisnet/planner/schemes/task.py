"""What a job and its scheme ask of the split of a cluster, whoever is in it."""

from __future__ import annotations

from collections.abc import Mapping

from gaisnet.planner.chains import SplitTask
from gaisnet.planner.roster import Roster
from gaisnet.planner.schemes.side_rules import task_rules
from gaisnet.schema.job import Intra

__all__ = ["scheme_task"]


def scheme_task(
    roster: Roster,
    name: str,
    owners: tuple[str, ...],
    holders: tuple[str, ...],
    limit_bytes: Mapping[str, int],
    intra: Intra,
) -> SplitTask:
    """The splitting problem of a cluster under the roster's job.

    Args:
        roster: The fleet and the job.
        name: Of the cluster.
        owners: Devices with data.
        holders: Who may hold stages of the body.
        limit_bytes: Memory of each of them.
        intra: How the owners share the body.
    """
    job, limits, tuning = roster.job, roster.job.constraints, roster.job.fine_tuning
    return SplitTask(
        name=name,
        owners=owners,
        holders=holders,
        limit_bytes=dict(limit_bytes),
        intra=intra,
        topology=tuning.topology,
        microbatches=tuning.microbatches,
        batch_size=tuning.batch_size,
        min_head_units=limits.min_head_units,
        min_tail_units=limits.min_tail_units,
        max_stages=1 if job.scheme.startswith("sfl") else limits.max_stages,
        whole=job.scheme in ("fl", "central"),
        needs_body=job.scheme in ("sl", "sfl-v1", "sfl-v2"),
        objective=job.objective,
        rules=task_rules(roster, owners, holders),
        search=job.search,
    )
