"""Which clusters a scheme has, where the scheme itself says so."""

from __future__ import annotations

import math

from gaisnet.errors import InfeasibleError
from gaisnet.planner.mend import bytes_text
from gaisnet.planner.partition import Group
from gaisnet.planner.roster import Roster

__all__ = ["scheme_groups"]


def scheme_groups(roster: Roster) -> tuple[Group, ...]:
    """The clusters of every scheme but HFSL, which is free to choose them.

    Federated learning and SplitFed-V1: one per owner, so that averages are weighted by samples.
    Split learning and SplitFed-V2: one of all owners. Centralised: the fastest device that holds
    the whole model and that every owner reaches.
    """
    owners = tuple(owner.id for owner in roster.owners)
    if roster.job.scheme == "central":
        return (_central(roster),)
    if roster.job.scheme in ("fl", "sfl-v1"):
        return tuple(
            Group(
                edge=roster.edge_of(roster.device(owner)),
                domain=roster.domain_of(owner),
                owners=(owner,),
            )
            for owner in owners
        )
    edge = roster.edge_of(roster.owners[0])
    members = [
        device.id
        for device in roster.fleet.devices
        if device.tier == "end" and device.id not in owners
    ]
    return (Group(edge=edge, domain=roster.domain, owners=owners, members=tuple(members)),)


def _central(roster: Roster) -> Group:
    cost, tuning = roster.cost, roster.job.fine_tuning
    size = tuning.batch_size // tuning.microbatches
    need = cost.stage_memory_bytes(0, cost.n_units - 1, size, tuning.microbatches).total_bytes
    able = [d.id for d in roster.fleet.devices if roster.may_hold(d.id) and _reached(roster, d.id)]
    if not able:
        raise InfeasibleError(
            "no device may collect all data: every one is private, forbidden or unlinked",
            where="scheme central",
            hint="give one device privacy `shared` and a link from every owner",
        )
    fitting = [d for d in able if cost.devices[d].limit_bytes >= need]
    if not fitting:
        most = max(able, key=lambda d: cost.devices[d].limit_bytes)
        missing = need - cost.devices[most].limit_bytes
        raise InfeasibleError(
            f"no device can train the whole model, which takes {bytes_text(need)}",
            where="scheme central",
            hint=f"{most} needs {bytes_text(missing)} more",
        )
    size_s = {d: cost.unit_s(d, size).sum() for d in fitting}
    fastest = min(fitting, key=lambda d: float(size_s[d]))
    return Group(edge=fastest, domain=roster.domain, owners=(fastest,))


def _reached(roster: Roster, device: str) -> bool:
    sends = (roster.cost.transfer_s(owner.id, device, 1) for owner in roster.owners)
    return all(map(math.isfinite, sends))
