"""``replan``: the plan without devices that are lost, moving as little as is worth it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from gaisnet.errors import InfeasibleError
from gaisnet.planner.assemble import assemble, make_roster
from gaisnet.planner.explaining import explain
from gaisnet.planner.inputs import Inputs
from gaisnet.planner.predict import predict_round
from gaisnet.planner.robust.repair import Repair
from gaisnet.planner.robust.survivors import surviving
from gaisnet.planner.robust.tasks import Holdings, held_units
from gaisnet.planner.roster import Roster
from gaisnet.planner.schemes import Choice, choose_clusters
from gaisnet.planner.schemes.averaging import check_averaging, linked
from gaisnet.schema.job import Job
from gaisnet.schema.plan import Certificate, ClusterPlan, Loss, Plan, Takeover

__all__ = ["replan", "surviving_inputs", "takeovers"]


def replan(
    plan: Plan,
    lost: Collection[str],
    inputs: Inputs,
    *,
    folder: Path | None = None,
    bytes_weight: float | None = None,
    gap: float | None = None,
) -> Plan:
    """The plan without ``lost``; clusters that are not hit stay as they are.

    A hit cluster is split again, exactly, over what is left of it, its servers and idle devices
    below its edge: the job's objective plus a price of the bytes that move is least. The price
    of a byte is ``bytes_weight`` times the cluster's objective before the loss over the bytes of
    the whole model. If there is no such split, devices of other clusters may help with what
    memory they have left; else its owners join another cluster; else everything is planned anew.
    Clusters without owners end. Clusters whose edge server is gone get the one that exchanges
    modules with their devices soonest.

    Args:
        plan: The plan until now.
        lost: Devices that are gone now.
        inputs: The files that ``plan`` was made from (``inputs_of``).
        folder: Where the new plan will be written: paths in it are relative to it (by default
            the job's folder).
        bytes_weight: Instead of the job's ``robust.bytes_weight``.
        gap: Instead of the job's ``search.gap``.

    Raises:
        UsageError: The fleet has no such device.
        InfeasibleError: No plan without these devices satisfies the constraints.
    """
    inputs = replace(inputs, job=_as_planned(inputs, plan, gap))
    weight = inputs.job.robust.bytes_weight if bytes_weight is None else bytes_weight
    gone = _all_lost(plan, lost)
    roster = surviving(inputs, gone, make_roster(inputs).cost)
    holdings = Holdings(roster=roster, units=held_units(roster, plan.clusters))
    try:
        choice = _repaired(plan, holdings, frozenset(gone), weight)
    except InfeasibleError:
        choice = choose_clusters(_free(roster))
    made = assemble(inputs, folder or inputs.job_path.parent, roster, choice)
    takes = takeovers(holdings, choice.clusters)
    loss = Loss(
        lost=tuple(gone),
        takes=takes,
        moved_bytes=sum(take.moved_bytes for take in takes),
        bytes_weight=weight,
    )
    return made.model_copy(update={"loss": loss, "explanation": explain(made, roster, choice)})


def surviving_inputs(plan: Plan, lost: Collection[str], inputs: Inputs) -> Inputs:
    """The job of ``plan`` without devices that are lost, to be planned anew.

    Raises:
        UsageError: The fleet has no such device.
    """
    inputs = replace(inputs, job=_as_planned(inputs, plan, None))
    cost, gone = make_roster(inputs).cost, _all_lost(plan, lost)
    roster = surviving(inputs, gone, cost)
    return replace(inputs, fleet=roster.fleet, job=_free(roster).job)


def _all_lost(plan: Plan, lost: Collection[str]) -> list[str]:
    """Those lost now and before."""
    return sorted({*lost, *(plan.loss.lost if plan.loss else ())})


def _as_planned(inputs: Inputs, plan: Plan, gap: float | None) -> Job:
    """The job as it was planned: what the command line had said is in the plan."""
    job = inputs.job
    margins = {"memory_slack": plan.slack.memory, "time_slack": plan.slack.time}
    search = job.search if gap is None else job.search.model_copy(update={"gap": gap})
    return job.model_copy(
        update={
            "scheme": plan.scheme,
            "objective": plan.objective,
            "seed": plan.seed,
            "constraints": job.constraints.model_copy(update=margins),
            "search": search,
        }
    )


def _free(roster: Roster) -> Roster:
    """The same with any number of clusters."""
    clustering = roster.job.clustering.model_copy(update={"clusters": None})
    return replace(roster, job=roster.job.model_copy(update={"clustering": clustering}))


def _repaired(plan: Plan, holdings: Holdings, lost: frozenset[str], weight: float) -> Choice:
    clusters = {cluster.id: cluster for cluster in plan.clusters}
    repair = Repair(holdings=holdings, lost=lost, bytes_weight=weight, clusters=clusters)
    repair.run()
    roster, found = holdings.roster, tuple(repair.clusters.values())
    cloud = _cloud(roster, plan, found)
    check_averaging(roster, found, cloud)
    kept = [c for c in plan.certificates if _stands(c, found, repair.certificates)]
    return Choice(
        clusters=found,
        splits=(),
        certificates=(*kept, *repair.certificates.values()),
        round=predict_round(roster.cost, found, cloud, roster.job.fine_tuning),
        cloud=cloud,
    )


def _cloud(roster: Roster, plan: Plan, clusters: Sequence[ClusterPlan]) -> str:
    """Who averages over the edges: who did, if it is left and they reach it."""
    edges = sorted({cluster.edge for cluster in clusters})
    if plan.scheme == "central":
        return edges[0]
    left = {device.id for device in roster.fleet.devices}
    wanted = [plan.cloud] if plan.cloud in left and plan.cloud is not None else []
    able = (
        cloud
        for cloud in (*wanted, roster.cloud, *edges)
        if all(linked(roster, edge, cloud) for edge in edges)
    )
    return next(able, roster.cloud)


def _stands(proof: Certificate, clusters: Sequence[ClusterPlan], mended: Collection[str]) -> bool:
    """Whether a proof is of the split of a cluster that stays as it is: that there is less to
    choose from does not make its bound wrong."""
    what, _, name = proof.decision.partition(" without ")[0].rpartition(" ")
    stays = name in {cluster.id for cluster in clusters} - {*mended}
    return stays and what in ("split of cluster", "re-plan of cluster")


def takeovers(holdings: Holdings, clusters: Sequence[ClusterPlan]) -> tuple[Takeover, ...]:
    """What each device holds for a cluster that it did not hold before."""
    roster = holdings.roster
    found = []
    for (cluster, device), units in sorted(held_units(roster, clusters).items()):
        lacked = holdings.moving(cluster, [device], 0.0).of(device)
        new = units - holdings.units.get((cluster, device), set())
        for first, last in _spans(new):
            found.append(
                Takeover(
                    cluster=cluster,
                    device=device,
                    first_unit=first,
                    last_unit=last,
                    moved_bytes=sum(lacked[first : last + 1]),
                )
            )
    return tuple(found)


def _spans(units: Collection[int]) -> list[tuple[int, int]]:
    """Runs of consecutive units."""
    starts = [unit for unit in sorted(units) if unit - 1 not in units]
    ends = [unit for unit in sorted(units) if unit + 1 not in units]
    return list(zip(starts, ends, strict=True))
