"""A cluster's part of a round of HFSL: modules come, local steps, modules go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gaisnet.errors import RunError
from gaisnet.executor.chain import Chain, Stop, chain_of, stops_of
from gaisnet.executor.clip import clip_scale
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.journal import Journal, Work
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.propagate import Propagation
from gaisnet.executor.relay import Collected, Relay
from gaisnet.executor.settings import Settings
from gaisnet.executor.tasks import BatchRef
from gaisnet.executor.ties import Tie, find_ties, sum_tied_gradients
from gaisnet.schema.plan import ClusterPlan, Owner

__all__ = ["ClusterReport", "ClusterRound", "ClusterTuner", "reset_optimizer"]


@dataclass(frozen=True, kw_only=True)
class ClusterReport:
    """What came of a cluster's part of a round."""

    cluster: str
    losses: tuple[tuple[float, int], ...]
    """Mean loss of every step, with its samples."""
    samples: int
    """Of the owners whose updates count."""
    rejected: dict[str, str]
    """Why a device's update does not count."""
    lost: dict[str, str]
    """Owners that were lost while modules were collected, and what is to be said of them; the
    update of one that had come by then counts."""
    journal: Journal


@dataclass(frozen=True, kw_only=True)
class ClusterTuner:
    """What is the same for all rounds of a cluster."""

    cluster: ClusterPlan
    facts: ModelFacts
    settings: Settings
    dispensable: frozenset[str] = frozenset()
    """Owners without which a round may close."""
    _chains: dict[tuple[str, ...], tuple[Chain, tuple[Tie, ...]]] = field(default_factory=dict)

    def round(
        self, dispatcher: Dispatcher, index: int, cursors: Mapping[str, int]
    ) -> ClusterReport:
        """Distribute, tune locally, average over the owners.

        Args:
            dispatcher: Reaches the cluster's holders and its coordinator.
            index: Of the round.
            cursors: Steps that each owner has taken.

        Raises:
            RunError: A loss is not finite.
        """
        dispatcher.record()
        part = ClusterRound(tuner=self, dispatcher=dispatcher, index=index, cursors=dict(cursors))
        losses, collected = part.run()
        return ClusterReport(
            cluster=self.cluster.id,
            losses=tuple(losses),
            samples=collected.samples,
            rejected=dict(collected.rejected),
            lost=dict(collected.lost),
            journal=dispatcher.journal(),
        )

    def chain(self, owners: Sequence[Owner]) -> tuple[Chain, tuple[Tie, ...]]:
        """The way of a batch of some owners, and the parameters that stages on it share."""
        key = tuple(owner.device for owner in owners)
        if key not in self._chains:
            chain = chain_of(self.cluster, self.facts.n_units, owners)
            self._chains[key] = chain, find_ties(chain, self.facts)
        return self._chains[key]


@dataclass(frozen=True, kw_only=True)
class ClusterRound:
    """One round of one cluster."""

    tuner: ClusterTuner
    dispatcher: Dispatcher
    index: int
    cursors: dict[str, int]

    def run(self) -> tuple[list[tuple[float, int]], Collected]:
        """The steps' losses, and what came of collecting the modules."""
        moment, relay = Moment(self.index), self._relay
        relay.distribute(moment)
        losses = self._tune()
        # Whoever is lost from here on has done all its steps, and that is known.
        self.dispatcher.settle()
        return losses, relay.collect(moment)

    @property
    def _cluster(self) -> ClusterPlan:
        return self.tuner.cluster

    @property
    def _relay(self) -> Relay:
        tuning = self.tuner.settings.fine_tuning
        return Relay(
            dispatcher=self.dispatcher,
            cluster=self._cluster,
            facts=self.tuner.facts,
            personal=tuning.personal,
            secure=tuning.privacy.secure_aggregation,
            dispensable=self.tuner.dispensable,
        )

    def _tune(self) -> list[tuple[float, int]]:
        """The local steps: owners take turns, or step together (merged)."""
        cluster, tuning = self._cluster, self.tuner.settings.fine_tuning
        if not tuning.keep_optimizer_state:
            for stop in stops_of(cluster, self.tuner.facts.n_units):
                reset_optimizer(self.dispatcher, stop)
        steps = range(tuning.local_steps)
        if cluster.handover == "relay":
            return self._relayed(steps)
        turns = [cluster.owners] if cluster.intra == "merge" else [(o,) for o in cluster.owners]
        return [self._step(turn, Moment(self.index, n)) for n in steps for turn in turns]

    def _relayed(self, steps: range) -> list[tuple[float, int]]:
        """Split learning's turns: each owner takes all its steps, then hands its modules on."""
        losses, owners = [], self._cluster.owners
        for place, owner in enumerate(owners):
            if place > 0:
                self._relay.hand_over(owners[place - 1], owner, Moment(self.index))
            losses += [self._step((owner,), Moment(self.index, n)) for n in steps]
        return losses

    def _step(self, owners: Sequence[Owner], moment: Moment) -> tuple[float, int]:
        """One local step: forward, backward, clip over all parts, update.

        Micro-batches are issued as in GPipe (Huang et al., arXiv 1811.06965): all forward, then
        all backward; gradients accumulate in their order.
        """
        chain, ties = self.tuner.chain(owners)
        batches = {owner.device: self._draw(owner) for owner in owners}
        batch = self._propagation(chain, batches, moment)
        for microbatch in range(self._cluster.microbatches):
            batch.forward(microbatch)
        for microbatch in range(self._cluster.microbatches):
            batch.backward(microbatch)
        loss = batch.mean_loss()
        _refuse_unless_finite(loss, moment)
        for tie in ties:
            sum_tied_gradients(self.dispatcher, tie, moment)
        self._update(chain)
        return loss, sum(ref.batch_size for ref in batches.values())

    def _update(self, chain: Chain) -> None:
        limit = self.tuner.settings.fine_tuning.clip_norm
        order, scale = self.tuner.facts.tunable, None
        if limit is not None:
            scale = clip_scale(self.dispatcher, chain, order, limit)
        for stop in chain.stops():
            work = Work("update", stop.first_unit, stop.last_unit, 0)
            keys = (stop.stage,)
            self.dispatcher.call(stop.address, "update", stop.stage, scale, keys=keys, work=work)

    def _propagation(
        self, chain: Chain, batches: Mapping[str, BatchRef], moment: Moment
    ) -> Propagation:
        settings = self.tuner.settings
        return Propagation(
            dispatcher=self.dispatcher,
            chain=chain,
            batches=batches,
            moment=moment,
            dropout_seed=settings.seed if settings.dropout else None,
            crosses_below=self.tuner.facts.crosses_below,
        )

    def _draw(self, owner: Owner) -> BatchRef:
        """The owner's next batch; its cursor moves on."""
        step, settings = self.cursors[owner.device], self.tuner.settings
        self.cursors[owner.device] = step + 1
        size = settings.batch_sizes.get(owner.device, settings.fine_tuning.batch_size)
        return BatchRef(owner.device, step, size, self._cluster.microbatches, settings.seed)


def reset_optimizer(dispatcher: Dispatcher, stop: Stop) -> None:
    """Moments of a stage's optimizer start anew."""
    dispatcher.call(stop.address, "reset_optimizer", stop.stage, keys=(stop.stage,))


def _refuse_unless_finite(loss: float, moment: Moment) -> None:
    if not abs(loss) < float("inf"):
        raise RunError(
            f"the loss is {loss} in round {moment.round}, step {moment.step}; nothing was updated",
            hint="lower the learning rate, or set clip_norm",
        )
