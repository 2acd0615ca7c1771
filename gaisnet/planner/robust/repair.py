"""Clusters after a loss: those hit are split again, the others stay as they are."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gaisnet.errors import InfeasibleError
from gaisnet.planner.chains import ClusterSplit, SplitTask, repaired, residences, split_cluster
from gaisnet.planner.cost import Residence
from gaisnet.planner.mend import infeasible_split
from gaisnet.planner.predict import chain_of
from gaisnet.planner.robust.survivors import coordinators, exchange_s
from gaisnet.planner.robust.tasks import Holdings, repair_task
from gaisnet.planner.roster import Roster
from gaisnet.schema.plan import Certificate, ClusterPlan, Owner, Stage

__all__ = ["Repair"]


@dataclass(kw_only=True)
class Repair:
    """The clusters of a plan, mended one after the other.

    Attributes:
        holdings: Who is left, and what devices hold.
        lost: Devices that are gone.
        bytes_weight: What moving the whole model once counts like, in steps of a cluster.
        clusters: By id; those of the plan at first.
        certificates: Of the splits found, by cluster.
    """

    holdings: Holdings
    lost: frozenset[str]
    bytes_weight: float
    clusters: dict[str, ClusterPlan]
    certificates: dict[str, Certificate] = field(default_factory=dict)

    @property
    def roster(self) -> Roster:
        """Who is left."""
        return self.holdings.roster

    def run(self) -> None:
        """Mend every cluster that is hit.

        Raises:
            InfeasibleError: One cannot be mended, not even with what others can spare or by
                joining another cluster; or no owner of data is left.
        """
        hit = [c for c in self.clusters.values() if self.lost & _needed(c)]
        for cluster in hit:
            if not self._left(cluster):
                del self.clusters[cluster.id]
        if not self.clusters:
            raise InfeasibleError(
                "no device with data is left", hint="bring one back, or give another one data"
            )
        for cluster in hit:
            if cluster.id in self.clusters:
                self._mend(cluster)
        for cluster in [*self.clusters.values()]:
            if cluster.edge in self.lost:
                self._recoordinate(cluster)

    def _left(self, cluster: ClusterPlan) -> list[Owner]:
        """Owners that are left, with the data that is left."""
        shards = {o.device: [s for s in o.shards if s not in self.lost] for o in cluster.owners}
        return [
            self.roster.owner(device, tuple(kept))
            for device, kept in shards.items()
            if kept and device not in self.lost
        ]

    def _mend(self, cluster: ClusterPlan) -> None:
        """Among its own devices, else with what others can spare, else within another cluster."""
        owners = self._left(cluster)
        for helpers in (self._own(cluster), self._all()):
            if self._place(cluster, owners, helpers):
                return
        if not self._join(cluster, owners):
            raise infeasible_split(self.roster.cost, self._task(cluster, owners, self._all()))

    def _place(self, cluster: ClusterPlan, owners: Sequence[Owner], helpers: Sequence[str]) -> bool:
        """Split the cluster below the first edge server with which that is possible."""
        found = self._best(cluster, owners, helpers)
        if found is not None:
            self._take(cluster, owners, *found)
        return found is not None

    def _best(
        self, cluster: ClusterPlan, owners: Sequence[Owner], helpers: Sequence[str]
    ) -> tuple[str, ClusterSplit] | None:
        """Modules are averaged: whoever holds a stage must reach the edge server."""
        tried: list[list[str]] = []
        for edge in self._edges(cluster, owners):
            reached = [d for d in helpers if math.isfinite(exchange_s(self.roster.cost, edge, [d]))]
            if reached in tried:
                continue
            tried.append(reached)
            split = self._split(cluster, self._task(cluster, owners, reached))
            if split is not None:
                return edge, split
        return None

    def _edges(self, cluster: ClusterPlan, owners: Sequence[Owner]) -> list[str]:
        """Who may coordinate the cluster: who did, then servers and owners that all reach."""
        names = [owner.device for owner in owners]
        able = coordinators(self.roster, names)
        return sorted(able, key=lambda edge: edge != cluster.edge)

    def _join(self, cluster: ClusterPlan, owners: Sequence[Owner]) -> bool:
        """Whether the owners could join another cluster: the one whose step is then shortest."""
        if self.roster.job.scheme != "hfsl":
            return False
        left = self.clusters.pop(cluster.id)
        found: list[tuple[tuple[str, ClusterSplit], ClusterPlan, list[Owner]]] = []
        for host in self.clusters.values():
            if self.roster.job.fine_tuning.personal and host.domain != cluster.domain:
                continue
            together = [*self._left(host), *owners]
            best = self._best(host, together, self._all())
            if best is not None:
                found.append((best, host, together))
        if not found:
            self.clusters[cluster.id] = left
            return False
        (edge, split), host, together = min(found, key=lambda each: each[0][1].value)
        self._take(host, together, edge, split)
        return True

    def _split(self, cluster: ClusterPlan, task: SplitTask) -> ClusterSplit | None:
        cost = self.roster.cost
        old = chain_of(cluster, self.roster.job.fine_tuning)
        return split_cluster(cost, task, repaired(cost, task, old, self.lost))

    def _task(
        self, cluster: ClusterPlan, owners: Sequence[Owner], helpers: Iterable[str]
    ) -> SplitTask:
        scheme = self.roster.job.scheme
        able = [] if scheme in ("fl", "central") else list(helpers)
        if scheme.startswith("sfl"):
            able = [d for d in able if self.roster.device(d).tier != "end"]
        beside = self._beside(cluster.id)
        return repair_task(self.holdings, cluster, owners, able, beside, self.bytes_weight)

    def _beside(self, cluster: str) -> dict[str, tuple[Residence, ...]]:
        """What devices hold for other clusters."""
        held: defaultdict[str, tuple[Residence, ...]] = defaultdict(tuple)
        for other in self.clusters.values():
            if other.id != cluster:
                chain = chain_of(other, self.roster.job.fine_tuning)
                for device, spans in residences(self.roster.cost, chain).items():
                    held[device] += tuple(spans)
        return dict(held)

    def _own(self, cluster: ClusterPlan) -> list[str]:
        """The cluster's own devices, its servers, and devices below its edge that are idle."""
        edges = self._edges(cluster, self._left(cluster))[:1]
        busy = {device for other in self.clusters.values() for device in _needed(other)}
        idle = [
            device.id
            for device in self.roster.fleet.devices
            if device.tier == "end" and device.data is None and device.id not in busy
            if self.roster.edge_of(device) in edges
        ]
        wanted = [*(o.device for o in cluster.owners), *(s.device for s in cluster.body)]
        return self._holding([*wanted, *idle, *edges, self.roster.cloud])

    def _all(self) -> list[str]:
        return self._holding(device.id for device in self.roster.fleet.devices)

    def _holding(self, devices: Iterable[str]) -> list[str]:
        left = [device for device in dict.fromkeys(devices) if device not in self.lost]
        return [device for device in left if self.roster.may_hold(device)]

    def _take(
        self, cluster: ClusterPlan, owners: Sequence[Owner], edge: str, split: ClusterSplit
    ) -> None:
        chain = split.chain
        body = tuple(Stage(device=d, first_unit=i, last_unit=j) for d, i, j in chain.body)
        ends = {"head_units": chain.head_units, "tail_first_unit": chain.tail_first_unit}
        self.clusters[cluster.id] = cluster.model_copy(
            update={**ends, "owners": tuple(owners), "body": body, "edge": edge}
        )
        self.certificates[cluster.id] = _certificate(split, sorted(self.lost))

    def _recoordinate(self, cluster: ClusterPlan) -> None:
        """Another edge server for stages that stay; if none reaches them all, other stages."""
        able = coordinators(self.roster, sorted(_needed(cluster)))
        if able:
            self.clusters[cluster.id] = cluster.model_copy(update={"edge": able[0]})
        else:
            self._mend(cluster)


def _needed(cluster: ClusterPlan) -> set[str]:
    """Devices without which the cluster is another one: its owners, their data, its body."""
    owners = {device for owner in cluster.owners for device in (owner.device, *owner.shards)}
    return owners | {stage.device for stage in cluster.body}


def _certificate(split: ClusterSplit, lost: Sequence[str]) -> Certificate:
    task = split.task
    proven = split.gap <= max(task.search.gap, 1e-9)
    return Certificate(
        decision=f"re-plan of cluster {task.name} without {', '.join(lost)}",
        objective=f"{task.objective} of a step of all owners + price of the bytes moved",
        solver=split.solver,
        status="optimal" if proven else "feasible",
        value=split.value,
        bound=split.bound,
        gap=split.gap,
        work=split.nodes,
    )
