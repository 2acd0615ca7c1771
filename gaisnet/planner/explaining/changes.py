"""A cluster's split solved again with more of a resource, or without a rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from gaisnet.planner.chains import Chain, ClusterSplit, SplitTask, split_cluster
from gaisnet.planner.cost import CostModel
from gaisnet.planner.roster import Roster
from gaisnet.schema.explanation import Binding, Upgrade

__all__ = ["FACTOR", "Changed", "changed_rules", "upgrades_of", "used_links"]

FACTOR = 1.25
"""What a resource is multiplied with: a quarter more."""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """An upgrade, and the split with it."""

    kind: Literal["memory", "speed", "bandwidth"]
    where: str
    cluster: str
    value: float
    gain: float
    gap: float

    def upgrade(self) -> Upgrade:
        """As it stands in the plan."""
        return Upgrade(
            kind=self.kind,
            where=self.where,
            cluster=self.cluster,
            value=self.value,
            gain=self.gain,
            gap=self.gap,
        )


def upgrades_of(cost: CostModel, split: ClusterSplit) -> list[Changed]:
    """Each device's memory and speed, and each used link's bandwidth, a quarter more."""
    return [
        _solved(kind, where, split, other, task) for kind, where, other, task in _ways(cost, split)
    ]


def _ways(
    cost: CostModel, split: ClusterSplit
) -> Iterator[tuple[Literal["memory", "speed", "bandwidth"], str, CostModel, SplitTask]]:
    task = split.task
    for device in dict.fromkeys([*task.owners, *task.holders]):
        more = round((FACTOR - 1.0) * cost.devices[device].limit_bytes)
        limits = {**task.limit_bytes, device: task.limit_bytes[device] + more}
        yield "memory", device, cost, replace(task, limit_bytes=limits)
        speed = {**task.speed, device: FACTOR * task.speed.get(device, 1.0)}
        yield "speed", device, cost, replace(task, speed=speed)
    for one, other in used_links(split.chain):
        faster = replace(cost, links=cost.links.faster(one, other, FACTOR))
        yield "bandwidth", f"{one}–{other}", faster, task


def used_links(chain: Chain) -> list[tuple[str, str]]:
    """Pairs of devices of a chain that send to each other, each once."""
    stages = [device for device, _, _ in chain.body]
    pairs = list(pairwise(stages))
    for owner in chain.owners if stages else ():
        pairs += [(owner, stages[0]), (owner, stages[-1])]
    return list(dict.fromkeys((min(p), max(p)) for p in pairs if p[0] != p[1]))


def _solved(
    kind: Literal["memory", "speed", "bandwidth"],
    where: str,
    split: ClusterSplit,
    cost: CostModel,
    task: SplitTask,
) -> Changed:
    found = split_cluster(cost, task, [split.chain])
    assert found is not None, "what was possible with less is possible with more"
    gain = max(0.0, 1.0 - found.value / split.value) if split.value > 0.0 else 0.0
    return Changed(
        kind=kind,
        where=where,
        cluster=task.name,
        value=found.value,
        gain=gain,
        gap=found.gap,
    )


def changed_rules(roster: Roster, split: ClusterSplit) -> list[Binding]:
    """Rules of the job whose lifting would shorten the cluster's objective."""
    found = []
    for rule, task in _without_rules(roster, split.task):
        better = split_cluster(roster.cost, task, [split.chain])
        gain = 1.0 - better.value / split.value if better and split.value > 0.0 else 0.0
        if gain > task.search.gap + 1e-9:
            found.append(Binding(kind="rule", where=rule, cluster=task.name, gain=gain))
    return sorted(found, key=lambda each: -(each.gain or 0.0))


def _without_rules(roster: Roster, task: SplitTask) -> Iterator[tuple[str, SplitTask]]:
    limits = roster.job.constraints
    if limits.max_stages is not None and not roster.job.scheme.startswith("sfl"):
        yield f"max_stages {limits.max_stages}", replace(task, max_stages=None)
    if limits.min_head_units > 1:
        yield f"min_head_units {limits.min_head_units}", replace(task, min_head_units=1)
    if limits.min_tail_units > 1 and task.topology == "u_shape":
        yield f"min_tail_units {limits.min_tail_units}", replace(task, min_tail_units=1)
    for device in _shut_out(roster, task):
        why = "forbidden" if device in limits.forbidden_devices else "private"
        room = {**task.limit_bytes, device: roster.cost.devices[device].limit_bytes}
        wider = replace(task, holders=(*task.holders, device), limit_bytes=room)
        yield f"device {device} is {why}", wider


def _shut_out(roster: Roster, task: SplitTask) -> list[str]:
    """Devices that might hold stages of the cluster if they were allowed to."""
    if task.whole:
        return []
    edges = {roster.edge_of(roster.device(owner)) for owner in task.owners}
    near = {*edges, roster.cloud, *(task.owners if len(task.owners) > 1 else ())}
    for device in roster.fleet.devices:
        if device.data is None and device.tier == "end" and roster.edge_of(device) in edges:
            near.add(device.id)
    return sorted(name for name in near - {*task.holders} if not roster.may_hold(name))
