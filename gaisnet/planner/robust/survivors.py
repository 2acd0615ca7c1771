"""What is left of a fleet, and of a job, without some devices."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from gaisnet.errors import InfeasibleError, UsageError
from gaisnet.planner.cost import CostModel
from gaisnet.planner.inputs import Inputs
from gaisnet.planner.roster import Roster
from gaisnet.schema.fleet import Device, Fleet
from gaisnet.schema.plan import Plan

__all__ = ["coordinators", "exchange_s", "participants", "surviving", "without"]


def participants(plan: Plan) -> tuple[str, ...]:
    """Every device that takes part: owners, stage holders, edges, the cloud; sorted."""
    found = {plan.cloud} if plan.cloud is not None else set()
    for cluster in plan.clusters:
        found |= {cluster.edge, *(owner.device for owner in cluster.owners)}
        found |= {stage.device for stage in cluster.body}
    return tuple(sorted(found))


def without(inputs: Inputs, gone: Collection[str]) -> Inputs:
    """The inputs without these devices, their links, and the services that only they ask for.

    Devices whose edge server is gone have none of their own until one is chosen.

    Raises:
        UsageError: The fleet has no such device.
        InfeasibleError: No device is left.
    """
    known = {device.id for device in inputs.fleet.devices}
    for name in sorted(gone):
        if name not in known:
            raise UsageError(f"the fleet has no device {name}", where="--lost")
    left = [device for device in inputs.fleet.devices if device.id not in gone]
    if not left:
        raise InfeasibleError("no device is left", hint="bring one back")
    links = [link for link in inputs.fleet.links if not {*link.between} & {*gone}]
    devices = tuple(_orphaned(device, gone) for device in left)
    fleet = Fleet(name=inputs.fleet.name, devices=devices, links=tuple(links))
    services = tuple(s for s in inputs.job.services if s.origin not in gone)
    return replace(inputs, fleet=fleet, job=inputs.job.model_copy(update={"services": services}))


def _orphaned(device: Device, gone: Collection[str]) -> Device:
    return device.model_copy(update={"edge": None}) if device.edge in gone else device


def surviving(inputs: Inputs, gone: Collection[str], cost: CostModel) -> Roster:
    """Who is left, each end device below the nearest edge server that is.

    The cost model is that of the whole fleet, so that shares stay what they are.
    """
    left = without(inputs, gone)
    orphans = {d.id for d in inputs.fleet.devices if d.edge in gone}
    roster = Roster(job=left.job, fleet=left.fleet, cost=cost)
    devices = tuple(
        d.model_copy(update={"edge": _server(roster, d.id)}) if d.id in orphans else d
        for d in left.fleet.devices
    )
    return replace(roster, fleet=left.fleet.model_copy(update={"devices": devices}))


def _server(roster: Roster, device: str) -> str | None:
    """The nearest server of a device, if there is any."""
    able = [name for name in coordinators(roster, [device]) if name != device]
    return able[0] if able else None


def coordinators(roster: Roster, devices: Sequence[str]) -> list[str]:
    """Who exchanges modules with all of ``devices``: edge servers, the soonest first, then clouds,
    then the devices themselves."""
    tiers = {device.id: device.tier for device in roster.fleet.devices}
    found: dict[str, None] = {}
    for servers in (
        [name for name, tier in tiers.items() if tier == "edge"],
        [name for name, tier in tiers.items() if tier == "cloud"],
        devices,
    ):
        times = {server: exchange_s(roster.cost, server, devices) for server in servers}
        reached = [server for server in servers if times[server] < math.inf]
        found |= dict.fromkeys(sorted(reached, key=lambda server: times[server]))
    return list(found)


def exchange_s(cost: CostModel, server: str, devices: Iterable[str]) -> float:
    """Seconds to send all tunable modules to the slowest of ``devices`` and get them back."""
    payload = max(1, cost.module_bytes(0, cost.n_units - 1))
    ways = (
        cost.transfer_s(server, device, payload) + cost.transfer_s(device, server, payload)
        for device in devices
    )
    return max(ways, default=0.0)
