"""HFSL, hybrid federated split learning (GaisNet, arXiv 2401.02668), one round after the other.

Federated learning, split learning, SplitFed and centralised training are plans for this loop:
what differs is who holds which units, who owns data, and how owners hand on their modules.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum

from gaisnet.errors import InputError, QuorumError, RunError
from gaisnet.executor.chain import Chain, Stop, chain_of, stops_of
from gaisnet.executor.clip import clip_scale
from gaisnet.executor.dispatch import Dispatcher, Work
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.propagate import Propagation
from gaisnet.executor.relay import Relay
from gaisnet.executor.secure_relay import FEWEST_OWNERS
from gaisnet.executor.tasks import BatchRef
from gaisnet.executor.ties import Tie, find_ties, sum_tied_gradients
from gaisnet.schema.job import FineTuning
from gaisnet.schema.plan import ClusterPlan, Owner, Plan

__all__ = ["FineTuner", "Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a run tunes with."""

    fine_tuning: FineTuning
    seed: int
    """Of the order of samples."""
    dropout: bool = False
    """Whether the tunable modules have dropout; its draws follow the seed."""
    batch_sizes: Mapping[str, int] = field(default_factory=dict)
    """Samples of a step of an owner, by device, where they are not the job's."""


class FineTuner:
    """Runs rounds of HFSL over services that are in place.

    Args:
        dispatcher: Reaches holders and coordinators.
        plan: Who holds what.
        facts: Of the model.
        settings: Of the job.

    Raises:
        InputError: Secure aggregation is asked for where it cannot hide an owner.
    """

    def __init__(
        self, dispatcher: Dispatcher, plan: Plan, facts: ModelFacts, settings: Settings
    ) -> None:
        self._dispatcher = dispatcher
        self._plan = plan
        self._facts = facts
        self._settings = settings
        tuning = settings.fine_tuning
        secure = tuning.privacy.secure_aggregation
        _check_hidden(plan, secure)
        self._relay = Relay(
            dispatcher=dispatcher, plan=plan, facts=facts, personal=tuning.personal, secure=secure
        )
        self._chains: dict[tuple[str, tuple[str, ...]], tuple[Chain, tuple[Tie, ...]]] = {}
        self.cursors = {owner.device: 0 for c in plan.clusters for owner in c.owners}
        """Steps that each owner has taken."""
        self.rejected: dict[str, str] = {}
        """Devices whose updates the last round left out, each with the reason."""

    def round(self, index: int) -> float:
        """One round: distribute, tune locally, average over owners, clusters and edges.

        Bad updates are left out of the averages; ``rejected`` says whose and why.

        Returns:
            The mean loss over all samples that were seen.

        Raises:
            RunError: A loss is not finite; the last checkpoint is as it was.
            QuorumError: Too few updates were fit to be averaged; likewise.
        """
        moment, losses, counted = Moment(index), [], {}
        self.rejected = {}
        for cluster in self._plan.clusters:
            with self._dispatcher.scope(cluster.id):
                self._relay.distribute(cluster, moment)
                losses.append(self._tune(cluster, index))
                collected = self._relay.collect(cluster, moment)
            counted[cluster.id] = collected.samples
            self.rejected |= collected.rejected
        self._check_quorum(sum(counted.values()), index)
        self._relay.average_edges(counted)
        if (index + 1) % self._settings.fine_tuning.cloud_every == 0:
            self.rejected |= self._relay.average_cloud(moment, counted)
        self._start_anew(self.rejected)
        return _mean([loss for cluster_losses in losses for loss in cluster_losses])

    def _check_quorum(self, samples: int, index: int) -> None:
        total = sum(owner.samples for c in self._plan.clusters for owner in c.owners)
        quorum = self._settings.fine_tuning.quorum
        if samples < quorum * total or samples == 0:
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
                    self._reset_optimizer(stop)

    def _tune(self, cluster: ClusterPlan, index: int) -> list[tuple[float, int]]:
        """The local steps of a cluster: owners take turns, or step together (merged)."""
        if not self._settings.fine_tuning.keep_optimizer_state:
            self._reset_optimizers(cluster)
        steps = range(self._settings.fine_tuning.local_steps)
        if cluster.handover == "relay":
            return self._relayed(cluster, index, steps)
        turns = [cluster.owners] if cluster.intra == "merge" else [(o,) for o in cluster.owners]
        return [self._step(cluster, turn, Moment(index, n)) for n in steps for turn in turns]

    def _relayed(self, cluster: ClusterPlan, index: int, steps: range) -> list[tuple[float, int]]:
        """Split learning's turns: each owner takes all its steps, then hands its modules on."""
        losses = []
        for place, owner in enumerate(cluster.owners):
            if place > 0:
                giver = cluster.owners[place - 1]
                self._relay.hand_over(cluster, giver, owner, Moment(index))
            losses += [self._step(cluster, (owner,), Moment(index, n)) for n in steps]
        return losses

    def _step(
        self, cluster: ClusterPlan, owners: Sequence[Owner], moment: Moment
    ) -> tuple[float, int]:
        """One local step: forward, backward, clip over all parts, update.

        Micro-batches are issued as in GPipe (Huang et al., arXiv 1811.06965): all forward, then
        all backward; gradients accumulate in their order.
        """
        chain, ties = self._chain(cluster, owners)
        batches = {owner.device: self._draw(cluster, owner) for owner in owners}
        batch = self._propagation(chain, batches, moment)
        for microbatch in range(cluster.microbatches):
            batch.forward(microbatch)
        for microbatch in range(cluster.microbatches):
            batch.backward(microbatch)
        loss = batch.mean_loss()
        _refuse_unless_finite(loss, moment)
        for tie in ties:
            sum_tied_gradients(self._dispatcher, tie, moment)
        self._update(chain)
        return loss, sum(ref.batch_size for ref in batches.values())

    def _update(self, chain: Chain) -> None:
        limit = self._settings.fine_tuning.clip_norm
        order, scale = self._facts.tunable, None
        if limit is not None:
            scale = clip_scale(self._dispatcher, chain, order, limit)
        for stop in chain.stops():
            work = Work("update", stop.first_unit, stop.last_unit, 0)
            keys = (stop.stage,)
            self._dispatcher.call(stop.address, "update", stop.stage, scale, keys=keys, work=work)

    def _propagation(
        self, chain: Chain, batches: Mapping[str, BatchRef], moment: Moment
    ) -> Propagation:
        return Propagation(
            dispatcher=self._dispatcher,
            chain=chain,
            batches=batches,
            moment=moment,
            dropout_seed=self._settings.seed if self._settings.dropout else None,
            crosses_below=self._facts.crosses_below,
        )

    def _draw(self, cluster: ClusterPlan, owner: Owner) -> BatchRef:
        """The owner's next batch; its cursor moves on."""
        step = self.cursors[owner.device]
        self.cursors[owner.device] = step + 1
        size = self._settings.batch_sizes.get(owner.device, self._settings.fine_tuning.batch_size)
        return BatchRef(owner.device, step, size, cluster.microbatches, self._settings.seed)

    def _chain(
        self, cluster: ClusterPlan, owners: Sequence[Owner]
    ) -> tuple[Chain, tuple[Tie, ...]]:
        key = cluster.id, tuple(owner.device for owner in owners)
        if key not in self._chains:
            chain = chain_of(cluster, self._plan.n_units, owners)
            self._chains[key] = chain, find_ties(chain, self._facts)
        return self._chains[key]

    def _reset_optimizers(self, cluster: ClusterPlan) -> None:
        for stop in stops_of(cluster, self._plan.n_units):
            self._reset_optimizer(stop)

    def _reset_optimizer(self, stop: Stop) -> None:
        self._dispatcher.call(stop.address, "reset_optimizer", stop.stage, keys=(stop.stage,))


def _check_hidden(plan: Plan, secure: bool) -> None:
    """Refuses a plan whose clusters cannot hide an owner among others, if that is asked for."""
    for cluster in plan.clusters if secure else ():
        if cluster.handover == "relay" or len(cluster.owners) < FEWEST_OWNERS:
            hand = "hands modules from owner to owner" if cluster.handover == "relay" else ""
            few = hand or f"has {len(cluster.owners)} owner(s) of the {FEWEST_OWNERS} it takes"
            raise InputError(
                f"cluster {cluster.id} {few}: no owner is hidden among others",
                where="fine_tuning.privacy.secure_aggregation",
                hint="plan fewer clusters with more owners, or turn secure aggregation off",
            )


def _refuse_unless_finite(loss: float, moment: Moment) -> None:
    if not abs(loss) < float("inf"):
        raise RunError(
            f"the loss is {loss} in round {moment.round}, step {moment.step}; nothing was updated",
            hint="lower the learning rate, or set clip_norm",
        )


def _mean(losses: Sequence[tuple[float, int]]) -> float:
    return fsum(loss * n for loss, n in losses) / sum(n for _, n in losses)
