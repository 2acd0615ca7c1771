"""Secure aggregation of a cluster's owners: the steps of the sum, from the edge's point of view."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gaisnet.executor.chain import Stop
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Address, LostDeviceError, Parcel, Reply
from gaisnet.executor.mailbox import Moment
from gaisnet.schema.plan import ClusterPlan, Owner

__all__ = ["FEWEST_OWNERS", "OwnStages", "SecureCollection", "threshold_of"]

FEWEST_OWNERS = 3
"""Of two owners, each knows the other's modules from the mean."""

_Given = Sequence[tuple["OwnStages", Parcel]]
"""A frame of each owner, or for each."""


def threshold_of(owners: int) -> int:
    """Owners that have to be left at the end: two thirds, rounded up, and never fewer than hide
    each other."""
    return max(FEWEST_OWNERS, -(-2 * owners // 3))


@dataclass(frozen=True, kw_only=True)
class OwnStages:
    """An owner's stages in a cluster, and the modules in them."""

    owner: Owner
    stops: tuple[Stop, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SecureCollection:
    """One round's secure sum over the owners of a cluster (``privacy.secure_sum``).

    Who is lost in a step takes no part in the next one (the sets U1 to U4 of the protocol); who
    counts is fixed between the masked modules and the reveals, and nobody is added later.
    """

    dispatcher: Dispatcher
    cluster: ClusterPlan
    domain: str
    moment: Moment
    owners: Sequence[OwnStages]
    lost: Mapping[str, LostDeviceError]
    """Those that are lost by now: the value of the context (``Engine.bear``) of the collection."""

    def run(self) -> None:
        """Keys, shares, masked modules, reveals; what comes of it waits in the edge's pool.

        Raises:
            LostDeviceError: So many are lost that nothing is to be unmasked.
        """
        cluster, edge, moment = self.cluster.id, self.cluster.edge, self.moment
        offer = cluster, self._threshold, moment, edge
        keys = self._came([(o, self._ask(o, "offer_keys", *offer)) for o in self.owners])
        offered = self._relayed("relay_keys", keys)
        seal = cluster, moment, edge
        shares = self._came([(o, self._ask(o, "seal_shares", *seal, taken=p)) for o, p in offered])
        for owner, parcel in self._relayed("relay_shares", shares):
            self._collect(owner, parcel)
        survivors = self._survivors()
        reveal = cluster, [o.owner.device for o in survivors], moment, edge
        asked = survivors if len(survivors) >= self._threshold else ()
        given = [(o, self._ask(o, "reveal_shares", *reveal)) for o in self._left(asked)]
        reveals = [parcel for _, parcel in self._came(given)]
        self._tell("unmask", cluster, self.domain, self._threshold, moment, parcels=reveals)

    @property
    def _threshold(self) -> int:
        return threshold_of(len(self.owners))

    def _collect(self, owner: OwnStages, shares: Parcel) -> None:
        """An owner's masked modules, to the edge's sum."""
        cluster, edge, moment = self.cluster.id, self.cluster.edge, self.moment
        stages = tuple(stop.stage for stop in owner.stops)
        given = cluster, stages, owner.owner.samples, moment, edge
        masked = self._ask(owner, "masked_modules", *given, taken=shares)
        arguments = cluster, owner.owner.device, owner.owner.samples, owner.names, self.domain
        self._tell("collect_masked", *arguments, moment, parcels=[masked])

    def _survivors(self) -> list[OwnStages]:
        """Whose masked modules came; from now on nobody's are added."""
        self.dispatcher.settle()
        weights = {o.owner.device: o.owner.samples for o in self.owners}
        missing = {device: weights[device] for device in sorted(self.lost)}
        found = self._tell("survivors", self.cluster.id, missing)
        devices = self.dispatcher.read(found)["survivors"]
        if len(devices) < self._threshold:
            self._refuse_if_lost()
        return [owner for owner in self.owners if owner.owner.device in devices]

    def _came(self, given: _Given) -> _Given:
        """What owners were asked for, without that of those who are lost by now."""
        self.dispatcher.settle()
        left = {id(owner) for owner in self._left(owner for owner, _ in given)}
        if len(left) < self._threshold:
            self._refuse_if_lost()
        return [(owner, parcel) for owner, parcel in given if id(owner) in left]

    def _left(self, owners: Iterable[OwnStages]) -> list[OwnStages]:
        return [owner for owner in owners if owner.owner.device not in self.lost]

    def _refuse_if_lost(self) -> None:
        for device in sorted(self.lost):
            raise self.lost[device]

    def _relayed(self, method: str, given: _Given) -> _Given:
        """The edge hands all owners' frames on; each owner gets one."""
        parcels = [parcel for _, parcel in given]
        reply = self._tell(
            method, self.cluster.id, self.moment, parcels=parcels, makes=len(parcels)
        )
        return [
            (owner, self.dispatcher.send(parcel, owner.stops[0].address))
            for (owner, _), parcel in zip(given, reply.parcels, strict=True)
        ]

    def _ask(
        self,
        owner: OwnStages,
        method: str,
        *arguments: object,
        taken: Parcel | None = None,
    ) -> Parcel:
        """An owner's frame, at the edge."""
        own = tuple(stop.stage for stop in owner.stops)
        parcels = () if taken is None else (taken,)
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
