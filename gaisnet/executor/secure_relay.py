"""Secure aggregation of a cluster's owners: the steps of the sum, from the edge's point of view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gaisnet.executor.chain import Stop
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Address, Parcel, Reply
from gaisnet.executor.mailbox import Moment
from gaisnet.schema.plan import ClusterPlan, Owner

__all__ = ["FEWEST_OWNERS", "OwnStages", "SecureCollection", "threshold_of"]

FEWEST_OWNERS = 3
"""Of two owners, each knows the other's modules from the mean."""


def threshold_of(owners: int) -> int:
    """Owners that have to be left at the end: two thirds, rounded up."""
    return -(-2 * owners // 3)


@dataclass(frozen=True, kw_only=True)
class OwnStages:
    """An owner's stages in a cluster, and the modules in them."""

    owner: Owner
    stops: tuple[Stop, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SecureCollection:
    """One round's secure sum over the owners of a cluster (``privacy.secure_sum``)."""

    dispatcher: Dispatcher
    cluster: ClusterPlan
    domain: str
    moment: Moment
    owners: Sequence[OwnStages]

    def run(self) -> None:
        """Keys, shares, masked modules, reveals; what comes of it waits in the edge's pool."""
        cluster, edge, moment = self.cluster.id, self.cluster.edge, self.moment
        threshold = threshold_of(len(self.owners))
        keys = [self._ask(o, "offer_keys", cluster, threshold, moment, edge) for o in self.owners]
        shares = [
            self._ask(owner, "seal_shares", cluster, moment, edge, parcels=[parcel])
            for owner, parcel in self._relayed("relay_keys", keys)
        ]
        for owner, parcel in self._relayed("relay_shares", shares):
            stages = tuple(stop.stage for stop in owner.stops)
            given = cluster, stages, owner.owner.samples, moment, edge
            masked = self._ask(owner, "masked_modules", *given, parcels=[parcel], keys=stages)
            arguments = cluster, owner.owner.device, owner.owner.samples, owner.names, self.domain
            self._tell("collect_masked", *arguments, moment, parcels=[masked])
        left = self.dispatcher.read(self._tell("survivors", cluster))["survivors"]
        asked = [o for o in self.owners if o.owner.device in left and len(left) >= threshold]
        reveals = [self._ask(o, "reveal_shares", cluster, left, moment, edge) for o in asked]
        self._tell("unmask", cluster, self.domain, threshold, moment, parcels=reveals)

    def _relayed(self, method: str, parcels: Sequence[Parcel]) -> list[tuple[OwnStages, Parcel]]:
        """The edge hands all owners' frames on; each owner gets one."""
        reply = self._tell(
            method, self.cluster.id, self.moment, parcels=parcels, makes=len(parcels)
        )
        return [
            (owner, self.dispatcher.send(parcel, owner.stops[0].address))
            for owner, parcel in zip(self.owners, reply.parcels, strict=True)
        ]

    def _ask(
        self,
        owner: OwnStages,
        method: str,
        *arguments: object,
        parcels: Sequence[Parcel] = (),
        keys: Sequence[str] = (),
    ) -> Parcel:
        """An owner's frame, at the edge."""
        own = keys or tuple(stop.stage for stop in owner.stops)
        reply = self.dispatcher.call(
            owner.stops[0].address, method, *arguments, parcels=parcels, makes=1, keys=own
        )
        return self.dispatcher.send(reply.parcels[0], Address(self.cluster.edge, COORDINATOR))

    def _tell(
        self, method: str, *arguments: object, parcels: Sequence[Parcel] = (), makes: int = 0
    ) -> Reply:
        edge = Address(self.cluster.edge, COORDINATOR)
        return self.dispatcher.call(
            edge, method, *arguments, parcels=parcels, makes=makes, keys=(self.cluster.id,)
        )
