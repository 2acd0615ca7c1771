"""Clusters before they are split, for each scheme: schemes are plans, not code paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gaisnet.planner.chains import SplitTask
from gaisnet.planner.cost import frozen_bytes, unit_bytes
from gaisnet.planner.partition import Group
from gaisnet.planner.roster import Roster
from gaisnet.planner.schemes.averaging import linked
from gaisnet.planner.schemes.task import scheme_task
from gaisnet.schema.job import Intra
from gaisnet.schema.plan import Owner

__all__ = ["Draft", "draft_clusters"]


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A cluster whose split is still to be found."""

    edge: str
    domain: str
    owners: tuple[Owner, ...]
    task: SplitTask
    relay: bool = False
    """Owners hand head and tail on instead of averaging them."""


def draft_clusters(
    roster: Roster, groups: Sequence[Group], *, full_speed: bool = True
) -> list[Draft]:
    """The splitting problem of each cluster under the job's scheme.

    Servers that several clusters may use divide their memory between them; the frozen weights
    count once where that gives more room. Their speed is divided too unless ``full_speed``.
    """
    holders = [_holders(roster, group) for group in groups]
    users = Counter(device for held in holders for device in held)
    copies = {device: _Copies(roster, device, count) for device, count in users.items()}
    return [
        _draft(roster, f"c{k}", group, held, copies, full_speed)
        for k, (group, held) in enumerate(zip(groups, holders, strict=True))
    ]


def _holders(roster: Roster, group: Group) -> tuple[str, ...]:
    """Who may hold the body: members and servers that the group's edge server reaches, since it
    averages their modules; a lone owner's body would be its own head."""
    scheme = roster.job.scheme
    if scheme in ("fl", "central"):
        return ()
    own = () if len(group.owners) == 1 else group.owners
    servers = [group.edge] if scheme.startswith("sfl") else [group.edge, roster.cloud]
    own_and_members = () if scheme.startswith("sfl") else (*own, *group.members)
    wanted = dict.fromkeys([*own_and_members, *servers])
    owning = set(roster.samples) - set(own)
    return tuple(
        device
        for device in wanted
        if roster.may_hold(device) and device not in owning and linked(roster, device, group.edge)
    )


class _Copies:
    """What a device that ``count`` clusters may use can give to each of them."""

    def __init__(self, roster: Roster, device: str, count: int) -> None:
        cost, in_flight = roster.cost, roster.job.fine_tuning.batch_size
        limit = cost.devices[device].limit_bytes
        frozen = sum(frozen_bytes(unit) for unit in cost.model.units)
        full = sum(unit_bytes(unit, cost.optimizer, in_flight) for unit in cost.model.units)
        apart, together = limit // count, max(0, limit - frozen) // count
        self.count = count
        self.shares_weights = count > 1 and together * full > apart * (full - frozen)
        self.limit_bytes = together if self.shares_weights else apart


def _draft(
    roster: Roster,
    name: str,
    group: Group,
    holders: tuple[str, ...],
    copies: Mapping[str, _Copies],
    full_speed: bool,
) -> Draft:
    scheme, devices = roster.job.scheme, roster.cost.devices
    intra: Intra = "sequential" if scheme in ("sl", "sfl-v2") else roster.job.fine_tuning.intra
    limit_bytes = {owner: devices[owner].limit_bytes for owner in group.owners}
    limit_bytes |= {holder: copies[holder].limit_bytes for holder in holders}
    task = replace(
        scheme_task(roster, name, group.owners, holders, limit_bytes, intra),
        speed={} if full_speed else {h: 1.0 / copies[h].count for h in holders},
        shares_weights=frozenset(h for h in holders if copies[h].shares_weights),
    )
    return Draft(
        edge=group.edge,
        domain=group.domain,
        owners=tuple(_owner(roster, owner) for owner in group.owners),
        task=task,
        relay=scheme == "sl",
    )


def _owner(roster: Roster, name: str) -> Owner:
    """Centralised training feeds everybody's data; everything else one's own."""
    if roster.job.scheme == "central":
        return roster.owner(name, tuple(owner.id for owner in roster.owners))
    return roster.owner(name)
