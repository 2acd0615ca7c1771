"""HFSL, hybrid federated split learning (GaisNet, arXiv 2401.02668), one round after the other.

Federated learning, split learning, SplitFed and centralised training are plans for this loop:
what differs is who holds which units, who owns data, and how owners hand on their modules.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from math import fsum

from gaisnet.errors import InputError, QuorumError
from gaisnet.executor.averaging import Averaging
from gaisnet.executor.blueprints import ConductorBlueprint
from gaisnet.executor.chain import stops_of
from gaisnet.executor.clusterround import ClusterReport, reset_optimizer
from gaisnet.executor.conductor import CONDUCTOR, EdgeReport
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Address, LostDeviceError
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.secure_relay import FEWEST_OWNERS
from gaisnet.executor.settings import Settings
from gaisnet.schema.plan import ClusterPlan, Plan

__all__ = ["FineTuner", "check_hidden"]


class FineTuner:
    """Runs rounds of HFSL over holders and coordinators that are in place.

    Args:
        dispatcher: Reaches the edges.
        plan: Who holds what.
        facts: Of the model.
        settings: Of the job.
        dispensable: Owners without which a round may close, see ``dispensable_owners``.

    Raises:
        InputError: Secure aggregation is asked for where it cannot hide an owner.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        plan: Plan,
        facts: ModelFacts,
        settings: Settings,
        dispensable: Collection[str] = (),
    ) -> None:
        self._dispatcher = dispatcher
        self._plan = plan
        self._settings = settings
        self.dispensable = frozenset(dispensable)
        """As given."""
        tuning = settings.fine_tuning
        check_hidden(plan, tuning.privacy.secure_aggregation)
        self._averaging = Averaging(dispatcher=dispatcher, plan=plan, personal=tuning.personal)
        self._edges: dict[str, list[ClusterPlan]] = {}
        for cluster in plan.clusters:
            self._edges.setdefault(cluster.edge, []).append(cluster)
        for edge, clusters in self._edges.items():
            blueprint = ConductorBlueprint(
                clusters=tuple(clusters),
                facts=facts,
                settings=settings,
                dispensable=tuple(sorted(dispensable)),
            )
            dispatcher.engine.place(Address(edge, CONDUCTOR), blueprint)
        self.cursors = {owner.device: 0 for c in plan.clusters for owner in c.owners}
        """Steps that each owner has taken."""
        self.rejected: dict[str, str] = {}
        """Devices whose updates the last round left out, each with the reason."""
        self.lost: dict[str, str] = {}
        """Devices without which the last round closed, each with what is to be said of it."""

    def round(self, index: int) -> float:
        """One round: distribute, tune locally, average over owners, clusters and edges.

        Bad updates are left out of the averages, and so are those of dispensable owners that are
        lost before they have come; ``rejected`` says whose and why, ``lost`` who is gone.

        Returns:
            The mean loss over all samples that were seen.

        Raises:
            RunError: A loss is not finite; the last checkpoint is as it was.
            QuorumError: Too few updates were fit to be averaged; likewise.
            LostDeviceError: A device is lost without which the round cannot close; likewise.
        """
        self.rejected, self.lost = {}, {}
        # Edges find out what becomes of a lost owner; whoever they can do without, so can this.
        with self._dispatcher.bear(self.dispensable) as lost:
            reports = self._conduct(index)
            for report in reports:
                self._dispatcher.join(report.journal)
                self.rejected |= report.rejected
                self.lost |= report.lost
            if self.lost:  # by now edges know of it; so has whoever asks for anything from here on
                self._dispatcher.engine.watch()
            counted = {report.cluster: report.samples for report in reports}
            self._check_quorum(sum(counted.values()), index)
            self._average(index, counted)
            self._start_anew(self.rejected.keys() - self.lost.keys())
        self.lost |= {device: error.message for device, error in lost.items()}
        return _mean([loss for report in reports for loss in report.losses])

    def _average(self, index: int, counted: Mapping[str, int]) -> None:
        self._averaging.average_edges(counted)
        if (index + 1) % self._settings.fine_tuning.cloud_every == 0:
            self.rejected |= self._averaging.average_cloud(Moment(index), counted)

    def _conduct(self, index: int) -> list[ClusterReport]:
        """Every edge conducts its clusters; one message to each, one report from each."""
        cursors = self._draw()
        replies = [
            self._dispatcher.call(
                Address(edge, CONDUCTOR), "round", index, {c.id: cursors[c.id] for c in clusters}
            )
            for edge, clusters in self._edges.items()
        ]
        reports: dict[str, ClusterReport] = {}
        for reply in replies:
            edge = EdgeReport.read(reply.values)
            self._dispatcher.engine.meter.put(edge.traffic)
            reports |= {report.cluster: report for report in edge.clusters}
        return [reports[cluster.id] for cluster in self._plan.clusters]

    def _draw(self) -> dict[str, dict[str, int]]:
        """Where each cluster's owners go on in their data, by cluster; cursors move on."""
        found = {}
        for cluster in self._plan.clusters:
            found[cluster.id] = {o.device: self.cursors[o.device] for o in cluster.owners}
            for owner in cluster.owners:
                self.cursors[owner.device] += self._settings.fine_tuning.local_steps
        return found

    def _check_quorum(self, samples: int, index: int) -> None:
        total = sum(owner.samples for c in self._plan.clusters for owner in c.owners)
        quorum = self._settings.fine_tuning.quorum
        if samples < quorum * total or samples == 0:
            for device, why in sorted(self.lost.items()):
                raise LostDeviceError(why, where=device)
            told = "; ".join(f"{device}: {why}" for device, why in sorted(self.rejected.items()))
            raise QuorumError(
                f"round {index}: updates of {samples} of {total} samples can be averaged, which is "
                f"less than the quorum of {quorum:.0%} ({told})",
                hint="look at the devices named, or lower fine_tuning.quorum",
            )

    def _start_anew(self, devices: Container[str]) -> None:
        """Moments that led to a bad update would lead to the next."""
        for cluster in self._plan.clusters:
            for stop in stops_of(cluster, self._plan.n_units):
                if stop.address.device in devices:
                    reset_optimizer(self._dispatcher, stop)


def check_hidden(plan: Plan, secure: bool) -> None:
    """Refuse a plan whose clusters cannot hide an owner among others, if that is asked for.

    Raises:
        InputError: So it is.
    """
    for cluster in plan.clusters if secure else ():
        if cluster.handover == "relay" or len(cluster.owners) < FEWEST_OWNERS:
            hand = "hands modules from owner to owner" if cluster.handover == "relay" else ""
            few = hand or f"has {len(cluster.owners)} owner(s) of the {FEWEST_OWNERS} it takes"
            raise InputError(
                f"cluster {cluster.id} {few}: no owner is hidden among others",
                where="fine_tuning.privacy.secure_aggregation",
                hint="plan fewer clusters with more owners, or turn secure aggregation off",
            )


def _mean(losses: Sequence[tuple[float, int]]) -> float:
    return fsum(loss * n for loss, n in losses) / sum(n for _, n in losses)
