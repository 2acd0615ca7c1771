"""The way of a batch through a cluster: head → body → tail, for one owner or for several merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gaisnet.executor.engines.base import Address
from gaisnet.executor.tasks import StageSpec
from gaisnet.schema.plan import ClusterPlan, Owner

__all__ = ["HOLDER", "Chain", "Stop", "chain_of", "owner_stops", "stops_of"]

HOLDER = "holder"
"""Name of the service that holds a device's stages."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A stage on its device."""

    address: Address
    stage: str
    first_unit: int
    last_unit: int
    owner: Owner | None = None
    """Whose head or tail it is; none for the body."""

    def spec(self, gradient_below: bool) -> StageSpec:
        """What its holder has to build."""
        return StageSpec(self.stage, self.first_unit, self.last_unit, gradient_below)


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers of stops in forward order: all owners' heads, each body stage, all owners' tails.

    With no body there is no merging: each owner goes from its head to its own tail.
    """

    owners: tuple[Owner, ...]
    layers: tuple[tuple[Stop, ...], ...]

    def onward(self, layer: int, place: int) -> tuple[Stop, ...]:
        """Where a stop's activations go; nowhere from the last layer."""
        return self._beside(layer + 1, layer, place)

    def backward(self, layer: int, place: int) -> tuple[Stop, ...]:
        """Where a stop's gradients go; nowhere from the first layer."""
        return self._beside(layer - 1, layer, place)

    @property
    def merges(self) -> bool:
        """Whether several owners share the body."""
        return len(self.owners) > 1 and any(stop.owner is None for stop in self.stops())

    def stops(self) -> tuple[Stop, ...]:
        """All stops, from the first layer to the last."""
        return tuple(stop for layer in self.layers for stop in layer)

    def _beside(self, other: int, layer: int, place: int) -> tuple[Stop, ...]:
        if not 0 <= other < len(self.layers):
            return ()
        if len(self.layers[other]) == len(self.layers[layer]):
            return (self.layers[other][place],)
        return self.layers[other]


def chain_of(cluster: ClusterPlan, n_units: int, owners: Sequence[Owner]) -> Chain:
    """The chain that serves ``owners`` together."""
    head = tuple(_head(cluster, owner) for owner in owners)
    tail = tuple(_tail(cluster, n_units, owner) for owner in owners)
    layers = [head, *((stop,) for stop in _body(cluster)), tail]
    kept = [layer for layer in layers if all(s.first_unit <= s.last_unit for s in layer)]
    return Chain(tuple(owners), tuple(kept))


def stops_of(cluster: ClusterPlan, n_units: int) -> tuple[Stop, ...]:
    """Every stage of a cluster."""
    return chain_of(cluster, n_units, cluster.owners).stops()


def owner_stops(cluster: ClusterPlan, n_units: int, owner: Owner) -> tuple[Stop, ...]:
    """Head and tail of an owner."""
    return tuple(s for s in chain_of(cluster, n_units, [owner]).stops() if s.owner is not None)


def _head(cluster: ClusterPlan, owner: Owner) -> Stop:
    address = Address(owner.device, HOLDER)
    return Stop(address, f"{cluster.id}/head", 0, cluster.head_units - 1, owner)


def _tail(cluster: ClusterPlan, n_units: int, owner: Owner) -> Stop:
    address = Address(owner.device, HOLDER)
    return Stop(address, f"{cluster.id}/tail", cluster.tail_first_unit, n_units - 1, owner)


def _body(cluster: ClusterPlan) -> tuple[Stop, ...]:
    return tuple(
        Stop(Address(s.device, HOLDER), f"{cluster.id}/body-{i}", s.first_unit, s.last_unit)
        for i, s in enumerate(cluster.body)
    )
