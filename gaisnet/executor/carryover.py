"""Carries a checkpoint over to another plan of the same job: after a loss, others hold the stages.

Whoever takes over modules of which it has none gets those of the coordinator before it. Optimizer
states go with their parameters: within a body from whichever stage held a parameter to the one
that does, from an owner to itself, and from the body to an owner whose head has grown. What has no
past that fits starts anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from gaisnet.executor.chain import Stop, stops_of
from gaisnet.executor.checkpoint import Checkpoint
from gaisnet.executor.gate import Norms
from gaisnet.executor.pool import body_pool
from gaisnet.executor.relay import cloud_of, domain_of
from gaisnet.schema.plan import ClusterPlan, Plan

__all__ = ["carry_over"]

_History = dict[str, Tensor]
"""An optimizer's state by ``parameter|key``."""


def carry_over(checkpoint: Checkpoint, old: Plan, new: Plan, *, personal: bool) -> Checkpoint:
    """The checkpoint of a run of ``old``, as a run of ``new`` goes on from it.

    Args:
        checkpoint: What is known.
        old: The plan until then.
        new: The plan from then on.
        personal: Whether each domain has modules of its own.
    """
    return replace(
        checkpoint,
        modules=_modules(checkpoint.modules, old, new, personal),
        optimizers=_optimizers(checkpoint.optimizers, old, new),
        norms=_norms(checkpoint.norms, old, new),
    )


def _modules(
    modules: Mapping[str, Tensor], old: Plan, new: Plan, personal: bool
) -> dict[str, Tensor]:
    held: defaultdict[tuple[str, str], dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in modules.items():
        device, domain, name = key.split("|", 2)
        held[device, domain][name] = tensor
    edges = {cluster.id: cluster.edge for cluster in old.clusters}
    wanted: dict[tuple[str, str], list[str]] = {}
    for cluster in new.clusters:
        domain = domain_of(cluster, personal)
        before = wanted.setdefault((cluster.edge, domain), [cluster.edge])
        before += [edges[cluster.id]] if cluster.id in edges else []
        wanted.setdefault((cloud_of(new), domain), [cloud_of(new)])
    carried: dict[str, Tensor] = {}
    for (device, domain), before in sorted(wanted.items()):
        able = [*before, cloud_of(old), *sorted(d for d, of in held if of == domain)]
        source = next((d for d in able if (d, domain) in held), None)
        state = {} if source is None else held[source, domain]
        carried |= {f"{device}|{domain}|{name}": tensor for name, tensor in state.items()}
    return carried


def _optimizers(optimizers: Mapping[str, Tensor], old: Plan, new: Plan) -> dict[str, Tensor]:
    known: defaultdict[tuple[str, str], _History] = defaultdict(dict)
    for key, tensor in optimizers.items():
        device, stage, rest = key.split("|", 2)
        known[device, stage][rest] = tensor
    past = _Past(known, old)
    return {
        f"{stop.address.device}|{stop.stage}|{key}": tensor
        for cluster in new.clusters
        for stop in stops_of(cluster, new.n_units)
        for key, tensor in sorted(past.of(cluster, stop).items())
    }


class _Past:
    """What the stages of a plan's clusters remember."""

    def __init__(self, known: Mapping[tuple[str, str], _History], plan: Plan) -> None:
        self._bodies: defaultdict[str, _History] = defaultdict(dict)
        self._owners: defaultdict[str, _History] = defaultdict(dict)
        self._home: dict[str, str] = {}
        for cluster in plan.clusters:
            for stop in stops_of(cluster, plan.n_units):
                history = known.get((stop.address.device, stop.stage), {})
                if stop.owner is None:
                    self._bodies[cluster.id] |= history
                else:
                    self._owners[stop.owner.device] |= history
                    self._home[stop.owner.device] = cluster.id

    def of(self, cluster: ClusterPlan, stop: Stop) -> _History:
        """What a stage of a new plan may build on; parameters that it does not hold are ignored
        where it is put back."""
        if stop.owner is None:
            return self._bodies[cluster.id]
        home = self._home.get(stop.owner.device, cluster.id)
        return self._bodies[home] | self._owners[stop.owner.device]


def _norms(norms: Mapping[str, Norms], old: Plan, new: Plan) -> dict[str, Norms]:
    """A cluster's go with it to its coordinator, but for those of stages that are others now."""
    carried = {device: dict(known) for device, known in norms.items()}
    now = {cluster.id: cluster for cluster in new.clusters}
    for past in old.clusters:
        cluster = now.get(past.id)
        if cluster is None or cluster == past:
            continue
        before = carried.get(past.edge, {})
        own = {key: before.pop(key) for key in [*before] if key.startswith(f"{past.id}/")}
        changed = f"{body_pool(past.id)}/" if cluster.body != past.body else "/"
        kept = {key: n for key, n in own.items() if not key.startswith(changed)}
        carried.setdefault(cluster.edge, {}).update(kept)
    return carried
