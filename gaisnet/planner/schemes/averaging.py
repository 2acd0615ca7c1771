"""Whether modules can travel to be averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gaisnet.errors import InfeasibleError
from gaisnet.planner.roster import Roster
from gaisnet.schema.plan import ClusterPlan

__all__ = ["check_averaging", "linked"]


def check_averaging(roster: Roster, clusters: Sequence[ClusterPlan], cloud: str) -> None:
    """Modules travel between each device and its edge server, and between that and the cloud.

    Raises:
        InfeasibleError: There is no link.
    """
    for cluster in clusters:
        devices = [*(o.device for o in cluster.owners), *(s.device for s in cluster.body)]
        for one, other in [*((device, cluster.edge) for device in devices), (cluster.edge, cloud)]:
            if not linked(roster, one, other):
                raise InfeasibleError(
                    f"{one} has no links to {other}, with which it exchanges modules",
                    where=f"cluster {cluster.id}",
                    hint=f"link {one} and {other} both ways",
                )


def linked(roster: Roster, one: str, other: str) -> bool:
    """Whether bytes can travel both ways."""
    cost = roster.cost
    return math.isfinite(cost.transfer_s(one, other, 1) + cost.transfer_s(other, one, 1))
