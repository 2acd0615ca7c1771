"""Owners and members into clusters: one clustering problem per edge (and per personal domain)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gaisnet.errors import InfeasibleError
from gaisnet.planner.clustering import (
    ClusterMember,
    ClusterProblem,
    ClusterSolution,
    solve_clusters,
)
from gaisnet.planner.cost import frozen_bytes, unit_bytes
from gaisnet.planner.roster import Roster
from gaisnet.schema.plan import Certificate

__all__ = ["Group", "Partition", "partition"]


EXACT_UP_TO, QUICK_UP_TO = 20, 12
"""Devices of a group up to which a plan proves its clusters, and those of a number it only tries;
larger proofs take longer than the rest of the plan."""
THOROUGH = 8
"""Random starts of a search that is no mere trial."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Devices that belong together: a cluster, or what is to be divided into clusters."""

    edge: str
    domain: str
    owners: tuple[str, ...]
    members: tuple[str, ...] = ()
    """Devices without data that may hold stages."""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """Clusters with their certificates."""

    clusters: tuple[Group, ...]
    certificates: tuple[Certificate, ...]
    label_tv: float


def partition(roster: Roster, clusters: int, headroom: float = 1.0, restarts: int = 8) -> Partition:
    """Divide the fleet into ``clusters`` clusters.

    Devices are only clustered with devices of the same edge, and owners only with owners of the
    same domain where modules are personal. The number of clusters of each such group is in
    proportion to its owners.

    Args:
        roster: The fleet and the job.
        clusters: How many, in total.
        headroom: Factor on the memory that a cluster must have jointly.
        restarts: Random starts of the search.

    Raises:
        InfeasibleError: There are fewer owners or more groups than clusters, or no partition
            gives each cluster memory, an owner and links.
    """
    groups = _groups(roster)
    found = [
        _divide(_problem(roster, group, count, headroom, restarts), group)
        for group, count in zip(groups, _shares(groups, clusters), strict=True)
    ]
    samples = sum(roster.samples.values())
    tv = 0.0
    for part, solution in found:
        weight = sum(roster.samples[o] for group in part for o in group.owners) / samples
        tv += weight * (solution.terms.label_tv if solution.terms else 0.0)
    return Partition(
        clusters=tuple(group for part, _ in found for group in part),
        certificates=tuple(
            _certificate(group, solution, len(groups), roster.job.clustering.policy)
            for group, (_, solution) in zip(groups, found, strict=True)
        ),
        label_tv=tv,
    )


def _groups(roster: Roster) -> list[Group]:
    """Owners by edge and domain, in order of their first owner; members go where least is."""
    owners: dict[tuple[str, str], list[str]] = {}
    for owner in roster.owners:
        key = roster.edge_of(owner), roster.domain_of(owner.id)
        owners.setdefault(key, []).append(owner.id)
    members: dict[tuple[str, str], list[str]] = {key: [] for key in owners}
    owning = {owner.id for owner in roster.owners}
    for device in roster.fleet.devices:
        if device.id in owning or device.tier != "end" or not roster.may_hold(device.id):
            continue
        keys = [key for key in owners if key[0] == roster.edge_of(device)]
        if keys:
            members[min(keys, key=lambda k: len(members[k]) / len(owners[k]))].append(device.id)
    return [
        Group(edge=e, domain=d, owners=tuple(owners[e, d]), members=tuple(members[e, d]))
        for e, d in owners
    ]


def _shares(groups: Sequence[Group], clusters: int) -> list[int]:
    """Clusters of each group: at least one, at most its owners, else by largest remainder."""
    sizes = [len(group.owners) for group in groups]
    if clusters > sum(sizes):
        raise InfeasibleError(
            f"{clusters} clusters need an owner of data each, but there are {sum(sizes)}",
            where="clustering.clusters",
            hint=f"ask for at most {sum(sizes)}",
        )
    if clusters < len(groups):
        raise InfeasibleError(
            f"owners stand in {len(groups)} groups (by edge and personal domain), "
            f"too many for {clusters} clusters",
            where="clustering.clusters",
            hint=f"ask for at least {len(groups)}",
        )
    counts = [1] * len(groups)
    while sum(counts) < clusters:
        wanting = [
            (size / count, -g)
            for g, (size, count) in enumerate(zip(sizes, counts, strict=True))
            if count < size
        ]
        counts[-max(wanting)[1]] += 1
    return counts


def _divide(problem: ClusterProblem, group: Group) -> tuple[list[Group], ClusterSolution]:
    """Clusters of one group."""
    solution = solve_clusters(problem)
    if not solution.assignment:
        raise InfeasibleError(
            f"the devices of edge {group.edge} cannot be clustered: {solution.reason}",
            hint="ask for fewer clusters, or add memory or links",
        )
    devices = [*group.owners, *group.members]
    inside = [
        [d for d, c in zip(devices, solution.assignment, strict=True) if c == cluster]
        for cluster in range(problem.clusters)
    ]
    return [
        Group(
            edge=group.edge,
            domain=group.domain,
            owners=tuple(d for d in cluster if d in group.owners),
            members=tuple(d for d in cluster if d in group.members),
        )
        for cluster in inside
    ], solution


def _problem(
    roster: Roster, group: Group, clusters: int, headroom: float, restarts: int
) -> ClusterProblem:
    spec, devices = roster.job.clustering, [*group.owners, *group.members]
    capacity, required = _memory(roster, group, clusters)
    histograms = {owner: roster.shard(owner).label_histogram or () for owner in group.owners}
    return ClusterProblem(
        members=tuple(
            ClusterMember(
                capacity_bytes=capacity[device],
                flops_per_s=roster.cost.devices[device].flops_per_s,
                label_counts=histograms.get(device, ()),
                owner=device in group.owners,
            )
            for device in devices
        ),
        clusters=clusters,
        required_bytes=required * headroom,
        round_trip_s=_round_trips(roster, group.edge, devices),
        label_weight=spec.label_weight,
        speed_weight=spec.speed_weight,
        proximity_weight=spec.proximity_weight,
        policy=spec.policy,
        exact_up_to=EXACT_UP_TO if restarts >= THOROUGH else QUICK_UP_TO,
        min_devices=spec.min_devices,
        max_devices=spec.max_devices,
        seed=roster.job.seed,
        restarts=restarts,
    )


def _memory(roster: Roster, group: Group, clusters: int) -> tuple[dict[str, float], float]:
    """What each device can give to a body, and what a cluster must have beside its servers.

    Both at the depths of head and tail that leave the least to be missed; a device gives whole
    units only, and servers may hold frozen weights once for all clusters. This is a necessary
    condition: the split itself decides.
    """
    cost, tuning = roster.cost, roster.job.fine_tuning
    each = np.array([unit_bytes(u, cost.optimizer, tuning.batch_size) for u in cost.model.units])
    frozen = np.array([frozen_bytes(unit) for unit in cost.model.units])
    least = max(1.0, float(each[1:].min())) if len(each) > 1 else 1.0
    servers = {s for s in (group.edge, roster.cloud) if s not in group.owners}
    server_bytes = sum(cost.devices[s].limit_bytes for s in servers if roster.may_hold(s))
    best: tuple[float, dict[str, float], float] | None = None
    for head in range(max(1, roster.job.constraints.min_head_units), cost.n_units + 1):
        for tail in _tails(roster, head):
            ends = float(each[:head].sum() + each[tail:].sum())
            if any(cost.devices[owner].limit_bytes < ends for owner in group.owners):
                continue
            capacity = _capacities(roster, group, ends, least)
            apart = float(each[head:tail].sum()) - server_bytes / clusters
            together = float((each - frozen)[head:tail].sum())
            together -= max(0.0, server_bytes - float(frozen.sum())) / clusters
            required = max(0.0, min(apart, together))
            missing = clusters * required - sum(capacity.values())
            if best is None or missing < best[0]:
                best = missing, capacity, required
    if best is None:
        return _capacities(roster, group, 0.0, least), 0.0
    return best[1], best[2]


def _tails(roster: Roster, head: int) -> list[int]:
    units, limits = roster.cost.n_units, roster.job.constraints
    if head == units or roster.job.fine_tuning.topology == "vanilla":
        return [units]
    return list(range(head + 1, units - max(1, limits.min_tail_units) + 1))


def _capacities(roster: Roster, group: Group, ends: float, least: float) -> dict[str, float]:
    capacity = {}
    for device in (*group.owners, *group.members):
        room = roster.cost.devices[device].limit_bytes - (ends if device in group.owners else 0.0)
        usable = roster.may_hold(device) and room >= least
        capacity[device] = float(room // least * least) if usable else 0.0
    return capacity


def _round_trips(
    roster: Roster, edge: str, devices: Sequence[str]
) -> tuple[tuple[float, ...], ...]:
    """Seconds of one sample's activation there and back, through the edge where it must be."""
    cost = roster.cost
    payload = cost.activation_bytes(0, 1)

    def trip(a: str, b: str) -> float:
        return cost.transfer_s(a, b, payload) + cost.transfer_s(b, a, payload)

    to_edge = {device: trip(device, edge) for device in devices}
    return tuple(
        tuple(
            0.0 if a == b else min(trip(*sorted((a, b))), to_edge[a] + to_edge[b]) for b in devices
        )
        for a in devices
    )


def _certificate(group: Group, solution: ClusterSolution, groups: int, policy: str) -> Certificate:
    labels = "label distance" if policy == "mix" else "label distances within clusters"
    place = f" of edge {group.edge}" if groups > 1 else ""
    domain = f", domain {group.domain}" if groups > 1 else ""
    assert solution.value is not None
    assert solution.bound is not None
    return Certificate(
        decision=f"clustering{place}{domain}",
        objective=f"{labels} + speed shortfall + proximity, weighted",
        solver=solution.solver,
        status="optimal" if solution.status == "optimal" else "feasible",
        value=solution.value,
        bound=solution.bound,
        gap=solution.gap or 0.0,
        work=solution.nodes,
    )
