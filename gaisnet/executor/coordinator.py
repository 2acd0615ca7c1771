"""The service on an edge server (and on the cloud) that keeps the modules and averages them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gaisnet.executor.aggregate import Aggregator, Contribution, ModuleState
from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer, FrameError
from gaisnet.executor.gate import Norms, UpdateGate
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.pool import Pool, body_pool, cloud_pool, edge_pool, owner_pool, turn_pool
from gaisnet.executor.privacy import Adder
from gaisnet.executor.residual import is_residual, residual_name

__all__ = ["COORDINATOR", "Coordinator"]

COORDINATOR = "coordinator"
"""Name of the service."""

_TOO_LATE = "it was lost before its modules had come"
_MEAN = "mean of the owners"
"""Source of what a secure sum gives: no owner's own modules are known."""


class Coordinator:
    """Keeps one set of tunable modules per domain.

    Contributions are gathered in pools: the owners of a cluster, its body stages, the clusters
    of a domain at an edge, the edges of a domain at the cloud. A bad one is left out of its pool,
    and the pool's closing says so.

    Args:
        mailbox: The device's.
        run: Id of the run.
        aggregator: How contributions become one.
        gate: Judges them first.
    """

    def __init__(
        self, mailbox: Mailbox, run: str, aggregator: Aggregator, gate: UpdateGate
    ) -> None:
        self._mailbox = mailbox
        self._aggregator = aggregator
        self._gate = gate
        self._modules: dict[str, dict[str, Tensor]] = {}
        self._pools: dict[str, Pool] = {}
        self._adder = Adder(self._mailbox, run)

    def start(self, domains: Sequence[str], frame: Buffer) -> Answer:
        """Keep the first modules of each of some domains: the same for all."""
        _, state = self._mailbox.open(frame, Moment(), "modules")
        self._modules = {domain: dict(state) for domain in domains}
        return Answer()

    def give(
        self, domain: str, moment: Moment, receiver: str, names: Sequence[str] | None = None
    ) -> Answer:
        """The modules of a domain, or of them those in ``names`` with their residuals."""
        state = self._modules[domain]
        if names is not None:
            wanted = {*names, *map(residual_name, names)}
            state = {name: tensor for name, tensor in state.items() if name in wanted}
        return Answer((self._mailbox.frame("modules", receiver, state, moment),))

    def collect_stages(
        self,
        pool: str,
        source: str,
        samples: int,
        names: Sequence[str],
        domain: str,
        moment: Moment,
        frame: Buffer,
    ) -> Answer:
        """Put the modules ``names`` of a device's stages into a pool, unless they are bad.

        Stages do not send residuals back, since they do not change them; they are those that
        this coordinator gave out.
        """
        self._offer(pool, source, samples, names, domain, moment, frame)
        return Answer()

    def pass_on(
        self,
        cluster: str,
        source: str,
        names: Sequence[str],
        domain: str,
        moment: Moment,
        receiver: str,
        frame: Buffer,
    ) -> Answer:
        """Hand one owner's modules to the next; if they are bad, those that it had been given."""
        name = turn_pool(cluster)
        self._offer(name, source, 0, names, domain, moment, frame)
        self._gate.drop_outliers(name, self._pools[name], self._modules[domain])
        good = self._pools[name].newest
        given = {name: self._modules[domain][name] for name in names}
        state = self._with_residuals(domain, dict(good.state) if good else given)
        return Answer((self._mailbox.frame("modules", receiver, state, moment),))

    def relay_keys(self, cluster: str, moment: Moment, *frames: Buffer) -> Answer:
        """Begin a secure sum: all owners' keys to each of them."""
        return self._adder.relay_keys(cluster, moment, frames)

    def relay_shares(self, cluster: str, moment: Moment, *frames: Buffer) -> Answer:
        """Each owner gets the shares that the others of the cluster sealed for it."""
        return self._adder.relay_shares(moment, frames)

    def collect_masked(
        self,
        cluster: str,
        source: str,
        samples: int,
        names: Sequence[str],
        domain: str,
        moment: Moment,
        frame: Buffer,
    ) -> Answer:
        """Add an owner's masked modules to its cluster's sum, unless they do not fit."""
        known = {n: torch.empty_like(self._modules[domain][n], dtype=torch.int64) for n in names}
        pool = self._pools.setdefault(owner_pool(cluster), Pool())
        state = self._sound(pool, source, samples, names, known, moment, frame)
        if state is not None and not self._adder.add(cluster, source, samples, state):
            pool.reject(source, samples, _TOO_LATE)
        return Answer()

    def survivors(self, cluster: str, missing: Mapping[str, int]) -> Answer:
        """Take nobody else into a cluster's sum.

        Args:
            cluster: Its id.
            missing: Samples of owners that are lost, by device: left out unless they are in it.

        Returns:
            ``values["survivors"]``: owners whose masked modules were added.
        """
        survivors = self._adder.close(cluster)
        self.leave_out(cluster, {d: n for d, n in missing.items() if d not in survivors})
        return Answer(values={"survivors": survivors})

    def leave_out(self, cluster: str, missing: Mapping[str, int]) -> Answer:
        """Owners that are lost: those of whom no modules have come are left out, and come too late
        from now on.

        Args:
            cluster: Their cluster.
            missing: Their samples, by device.
        """
        pool = self._pools.setdefault(owner_pool(cluster), Pool())
        for device, samples in sorted(missing.items()):
            if device not in pool.contributions and device not in pool.reasons:
                pool.reject(device, samples, _TOO_LATE)
        return Answer()

    def unmask(
        self, cluster: str, domain: str, threshold: int, moment: Moment, *frames: Buffer
    ) -> Answer:
        """The mean over the survivors into the cluster's pool; ``frames`` are their reveals.

        Too few survivors leave the pool without one: nothing is unmasked.
        """
        pool = self._pools.setdefault(owner_pool(cluster), Pool())
        if len(frames) >= threshold:
            samples = self._adder.samples(cluster)
            like = {n: self._modules[domain][n] for n in self._adder.names(cluster)}
            state = self._adder.mean(cluster, threshold, moment, like, frames)
            pool.contributions[_MEAN] = Contribution(samples, self._with_residuals(domain, state))
            pool.judged.add(_MEAN)
        return Answer()

    def collect_edge(
        self, source: str, samples: int, domain: str, moment: Moment, frame: Buffer
    ) -> Answer:
        """Put an edge's modules of a domain into the cloud's pool, unless they are bad."""
        names = [name for name in self._modules[domain] if not is_residual(name)]
        self._offer(cloud_pool(domain), source, samples, names, domain, moment, frame)
        return Answer()

    def close_cluster(self, cluster: str, domain: str, samples: int) -> Answer:
        """Average a cluster's owners, add its body, and put the whole into the domain's pool.

        A parameter that an owner's stage and a body stage share is taken from the owners.

        Args:
            cluster: Its id.
            domain: Whose modules it tunes.
            samples: Of all its owners.

        Returns:
            ``values["rejected"]``: reasons by source. ``values["samples"]``: of the owners whose
            updates count; 0 if the cluster's do not count at all, as when its body's are bad.
        """
        turns = self._pools.pop(turn_pool(cluster), Pool())
        bodies = self._pools.pop(body_pool(cluster), Pool())
        owners = self._pools.pop(owner_pool(cluster), Pool())
        self._gate.drop_outliers(body_pool(cluster), bodies, self._modules[domain], apart=True)
        self._gate.drop_outliers(owner_pool(cluster), owners, self._modules[domain])
        rejected = {**turns.reasons, **bodies.reasons, **owners.reasons}
        if bodies.reasons or (owners.reasons and not owners.contributions):
            return Answer(values={"rejected": rejected, "samples": 0})
        state: dict[str, Tensor] = {}
        for part in bodies.contributions.values():
            state.update(part.state)
        if owners.contributions:
            state.update(self._aggregator.average(owners.contributions))
        left = samples - owners.lost_samples
        pool = self._pools.setdefault(edge_pool(domain), Pool())
        pool.contributions[cluster] = Contribution(left, state)
        return Answer(values={"rejected": rejected, "samples": left})

    def close(self, name: str, domain: str) -> Answer:
        """Average a pool: the result are the domain's modules from now on.

        Where nothing was contributed they stay as they are.

        Returns:
            ``values["rejected"]``: reasons by source.
        """
        pool = self._pools.pop(name, Pool())
        if name == cloud_pool(domain):
            self._gate.drop_outliers(
                name, pool, self._modules[domain], trusted=self._mailbox.device
            )
        if pool.contributions:
            self._modules[domain] = self._aggregator.average(pool.contributions)
        return Answer(values={"rejected": pool.reasons})

    def take(self, domain: str, moment: Moment, frame: Buffer) -> Answer:
        """Replace a domain's modules by what the cloud, or a checkpoint, says."""
        _, state = self._mailbox.open(frame, moment, "modules")
        self._modules[domain] = state
        return Answer()

    def export_norms(self) -> Answer:
        """``values["norms"]``: what the gate remembers, by pool."""
        return Answer(values={"norms": self._gate.export()})

    def import_norms(self, norms: Norms) -> Answer:
        """Put back what ``export_norms`` gave."""
        self._gate.restore(norms)
        return Answer()

    def _offer(
        self,
        name: str,
        source: str,
        samples: int,
        names: Sequence[str],
        domain: str,
        moment: Moment,
        frame: Buffer,
    ) -> None:
        """Into a pool, or among what it rejected."""
        pool = self._pools.setdefault(name, Pool())
        state = self._sound(pool, source, samples, names, self._modules[domain], moment, frame)
        if state is not None:
            whole = self._with_residuals(domain, state)
            pool.contributions[source] = Contribution(samples, whole)

    def _sound(
        self,
        pool: Pool,
        source: str,
        samples: int,
        names: Sequence[str],
        known: ModuleState,
        moment: Moment,
        frame: Buffer,
    ) -> dict[str, Tensor] | None:
        """A frame's modules, if nothing is wrong with them: a bad frame is like a lost one."""
        if source in pool.reasons:  # of whom there is an end for this round
            return None
        try:
            _, state = self._mailbox.open(frame, moment, "modules")
        except FrameError as error:
            pool.reject(source, samples, error.message)
            return None
        fault = self._gate.fault(state, known, names)
        if fault is not None:
            pool.reject(source, samples, fault)
            return None
        return state

    def _with_residuals(self, domain: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        known = self._modules[domain]
        twins = {residual_name(name) for name in state} & known.keys() - state.keys()
        return state | {name: known[name] for name in sorted(twins)}
