"""The clusters of a plan: their number, who is in which, and the split of each."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gaisnet.errors import InfeasibleError
from gaisnet.planner.chains import (
    ClusterSplit,
    SplitTask,
    is_splittable,
    overflow,
    split_cluster,
)
from gaisnet.planner.mend import infeasible_split
from gaisnet.planner.partition import Partition, partition
from gaisnet.planner.predict import RoundFigures, predict_round
from gaisnet.planner.roster import Roster
from gaisnet.planner.schemes.averaging import check_averaging
from gaisnet.planner.schemes.drafts import Draft, draft_clusters
from gaisnet.planner.schemes.groups import scheme_groups
from gaisnet.planner.schemes.rebalance import rebalance
from gaisnet.schema.explanation import RunnerUp
from gaisnet.schema.plan import Certificate, ClusterPlan, Stage

__all__ = ["Choice", "choose_clusters", "is_plannable"]

MOST_CLUSTERS = 16
STARTS, QUICK_STARTS = 8, 2
"""Random starts of the clustering."""
HEADROOMS = (1.0, 1.15, 1.4, 2.0, 0.0)
"""Factors on the joint memory that clusters are asked for, in turn. It is an estimate at one depth
of head and tail: more of it may make splits possible, none at all leaves all to the splits."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Clusters with their splits, what a round of them takes, and the proof."""

    clusters: tuple[ClusterPlan, ...]
    splits: tuple[ClusterSplit, ...]
    certificates: tuple[Certificate, ...]
    round: RoundFigures
    cloud: str
    label_tv: float = 0.0
    runner_ups: tuple[RunnerUp, ...] = ()
    """The other numbers of clusters that were planned."""

    def score(self, roster: Roster) -> float:
        """What the number of clusters is chosen by; smaller is better.

        Predicted time of a round (energy, if that is the objective) times ``1 + label_weight ·
        TV``: every number of clusters works on the same samples in a round, and clusters whose
        labels are skewed are expected to need more rounds. How many more depends on model and
        data; that factor is a rule of thumb, and the accuracy that comes out is measured by
        running the plan.
        """
        joules = sum(self.round.energy_j.values())
        cost = joules if roster.job.objective == "energy" else self.round.round_s
        return cost * (1.0 + roster.job.clustering.label_weight * self.label_tv)


def choose_clusters(roster: Roster) -> Choice:
    """Clusters and splits for the job's scheme.

    HFSL without a given number of clusters tries 1 to the number of owners (at most 16), plans
    each in full and takes the best by ``Choice.score``.

    Raises:
        InfeasibleError: No number of clusters that is tried is feasible.
    """
    if roster.job.scheme != "hfsl":
        groups = scheme_groups(roster)
        given = (_given(roster, len(groups)),)
        alone = Partition(clusters=groups, certificates=given, label_tv=0.0)
        return _settle(roster, alone, explain=True)
    if roster.job.clustering.clusters is not None:
        return _hfsl(roster, roster.job.clustering.clusters)
    return _best_number(roster)


def is_plannable(roster: Roster) -> bool:
    """Whether ``choose_clusters`` finds anything; stops at the first number of clusters."""
    job = roster.job
    try:
        if job.scheme != "hfsl":
            alone = Partition(clusters=scheme_groups(roster), certificates=(), label_tv=0.0)
            return bool(_settle(roster, alone).clusters)
        if job.clustering.clusters is not None:
            return bool(_hfsl(roster, job.clustering.clusters, explain=False).clusters)
        most = min(len(roster.owners), MOST_CLUSTERS)
    except InfeasibleError:
        return False
    for clusters in range(1, most + 1):
        with suppress(InfeasibleError):
            return bool(_hfsl(roster, clusters, quick=True, explain=False).clusters)
    with suppress(InfeasibleError):
        return bool(_hfsl(roster, 1, explain=False).clusters)
    return False


def _best_number(roster: Roster) -> Choice:
    tried: dict[int, Choice] = {}
    failures: dict[int, InfeasibleError] = {}
    for clusters in range(1, min(len(roster.owners), MOST_CLUSTERS) + 1):
        try:
            tried[clusters] = _hfsl(roster, clusters, quick=True)
        except InfeasibleError as error:
            failures[clusters] = error
    if not tried:
        return _hfsl(roster, min(failures))
    best = min(tried, key=lambda k: (tried[k].score(roster), k))
    tried[best] = min(_hfsl(roster, best), tried[best], key=lambda c: c.score(roster))
    number = _number_certificate(roster, tried, failures, best)
    others = tuple(_runner_up(k, found.score(roster), number) for k, found in tried.items())
    return replace(
        tried[best],
        certificates=(number, *tried[best].certificates),
        runner_ups=tuple(other for k, other in zip(tried, others, strict=True) if k != best),
    )


def _runner_up(clusters: int, score: float, best: Certificate) -> RunnerUp:
    return RunnerUp(
        decision="number of clusters",
        difference=f"{clusters} clusters",
        value=score,
        best=best.value,
        worse_by=score / best.value - 1.0 if best.value > 0.0 else 0.0,
    )


def _number_certificate(
    roster: Roster, tried: dict[int, Choice], failures: dict[int, InfeasibleError], best: int
) -> Certificate:
    """Best of the plans that were tried, one per number of clusters; enumeration proves that."""
    scores = [f"{k}: {tried[k].score(roster):.4g}" for k in sorted(tried)]
    scores += [f"{k}: infeasible" for k in sorted(failures)]
    value = tried[best].score(roster)
    return Certificate(
        decision=f"number of clusters: {best} ({'; '.join(scores)})",
        objective="of the plans tried: round time or energy × (1 + label_weight × label TV)",
        solver="enumeration, each number planned in full",
        status="optimal",
        value=value,
        bound=value,
        gap=0.0,
        work=len(tried) + len(failures),
    )


def _given(roster: Roster, clusters: int) -> Certificate:
    return Certificate(
        decision="clustering",
        objective="none",
        solver=f"scheme {roster.job.scheme}",
        status="given",
        value=float(clusters),
        bound=float(clusters),
        gap=0.0,
    )


def _hfsl(roster: Roster, clusters: int, *, quick: bool = False, explain: bool = True) -> Choice:
    """One number of clusters; asks for more joint memory if a cluster cannot be split.

    ``quick`` tries less; then, and without ``explain``, the error does not say what would mend
    the cluster.
    """
    unsplit: list[Partition] = []
    unclustered: list[InfeasibleError] = []
    for headroom in HEADROOMS[:: len(HEADROOMS) - 1] if quick else HEADROOMS:
        try:
            found = _partition(roster, clusters, headroom, QUICK_STARTS if quick else STARTS)
        except InfeasibleError as error:
            unclustered.append(error)
            continue
        try:
            return _settle(roster, found)
        except InfeasibleError:
            unsplit.append(found)
    if not unsplit:
        raise unclustered[0]
    return _settle(roster, unsplit[0], explain=explain and not quick)


def _partition(roster: Roster, clusters: int, headroom: float, restarts: int) -> Partition:
    question = f"partition {clusters} {headroom} {restarts} {roster.question}"
    return roster.recall(question, lambda: partition(roster, clusters, headroom, restarts))


def _settle(roster: Roster, found: Partition, *, explain: bool = False) -> Choice:
    """Split every cluster, servers at full speed and at their part of it; keep what is better."""
    choice = _split_all(roster, found, True, explain)
    if len(found.clusters) == 1 or not any(split.chain.body for split in choice.splits):
        return choice
    apart = _split_all(roster, found, False, explain)
    return min((choice, apart), key=lambda c: c.score(roster))


def _split_all(roster: Roster, found: Partition, full_speed: bool, explain: bool) -> Choice:
    drafts = draft_clusters(roster, found.clusters, full_speed=full_speed)
    splits = _splits(roster, drafts)
    if splits is None:
        drafts = rebalance(roster.cost, drafts)
        splits = _splits(roster, drafts)
    if splits is None:
        raise _failure(roster, drafts, explain)
    clusters = tuple(map(_cluster_plan, drafts, splits))
    cloud = clusters[0].edge if roster.job.scheme == "central" else roster.cloud
    check_averaging(roster, clusters, cloud)
    return Choice(
        clusters=clusters,
        splits=tuple(splits),
        certificates=(*found.certificates, *map(_split_certificate, splits)),
        round=predict_round(roster.cost, clusters, cloud, roster.job.fine_tuning),
        cloud=cloud,
        label_tv=found.label_tv,
    )


def _splits(roster: Roster, drafts: Sequence[Draft]) -> list[ClusterSplit] | None:
    splits = []
    for draft in drafts:
        split = _split(roster, draft.task)
        if split is None:
            return None
        assert not overflow(roster.cost, draft.task, split.chain), "the split does not fit"
        splits.append(split)
    return splits


def _split(roster: Roster, task: SplitTask) -> ClusterSplit | None:
    return roster.recall(f"split {task!r}", lambda: split_cluster(roster.cost, task))


def _failure(roster: Roster, drafts: Sequence[Draft], explain: bool) -> InfeasibleError:
    if not explain:
        return InfeasibleError("some cluster has no split")
    failed = next(d for d in drafts if not is_splittable(roster.cost, d.task))
    return infeasible_split(roster.cost, failed.task)


def _cluster_plan(draft: Draft, split: ClusterSplit) -> ClusterPlan:
    chain = split.chain
    return ClusterPlan(
        id=draft.task.name,
        edge=draft.edge,
        domain=draft.domain,
        owners=draft.owners,
        head_units=chain.head_units,
        tail_first_unit=chain.tail_first_unit,
        body=tuple(Stage(device=d, first_unit=i, last_unit=j) for d, i, j in chain.body),
        intra=chain.intra,
        handover="relay" if draft.relay else "average",
        microbatches=chain.microbatches,
    )


def _split_certificate(split: ClusterSplit) -> Certificate:
    task = split.task
    slowed = sorted({task.speed[d] for d, _, _ in split.chain.body if d in task.speed})
    part = f", shared devices at {slowed[0]:.3g} of their speed" if slowed else ""
    proven = split.gap <= max(task.search.gap, 1e-9)
    return Certificate(
        decision=f"split of cluster {task.name}",
        objective=f"{task.objective} of a step of all owners{part}",
        solver=split.solver,
        status="given" if task.whole else "optimal" if proven else "feasible",
        value=split.value,
        bound=split.bound,
        gap=split.gap,
        work=split.nodes,
    )
