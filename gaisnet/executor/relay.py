"""The data-free knowledge relay between edge and cluster, in nothing but modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gaisnet.executor.chain import HOLDER, Stop, owner_stops, stops_of
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Address, LostDeviceError, Parcel
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.pool import body_pool, owner_pool
from gaisnet.executor.secure_relay import OwnStages, SecureCollection
from gaisnet.schema.plan import ClusterPlan, Owner, Plan

__all__ = ["GENERAL", "Collected", "Relay", "cloud_of", "domain_of", "give"]

GENERAL = "general"
"""Domain of modules that all clusters share."""


def domain_of(cluster: ClusterPlan, personal: bool) -> str:
    """Whose modules a cluster tunes: its domain's own, or the general ones."""
    return cluster.domain if personal else GENERAL


def cloud_of(plan: Plan) -> str:
    """Who averages over the edges: the cloud, or without one the first edge."""
    return plan.cloud or plan.clusters[0].edge


@dataclass(frozen=True, kw_only=True)
class Collected:
    """What came of collecting a cluster's modules."""

    samples: int
    """Of the owners whose updates count."""
    rejected: Mapping[str, str]
    """Reasons by device."""
    lost: Mapping[str, str]
    """Owners that were lost meanwhile, and what is to be said of them."""


@dataclass(frozen=True, kw_only=True)
class Relay:
    """Moves modules between an edge and a cluster of it."""

    dispatcher: Dispatcher
    cluster: ClusterPlan
    facts: ModelFacts
    personal: bool
    secure: bool = False
    """Whether owners' modules reach their edge masked."""
    dispensable: frozenset[str] = frozenset()
    """Owners without which the round may close."""

    def distribute(self, moment: Moment) -> None:
        """Edge → cluster: every stage gets the current modules of its units.

        With ``handover: relay`` the first owner gets them; the others get them by ``hand_over``.
        """
        cluster = self.cluster
        for device, stops in self._devices(down=True):
            names = _names(self.facts, stops)
            if names:
                arguments = self._domain, moment, device, names
                parcel = give(self.dispatcher, cluster.edge, *arguments, key=cluster.id)
                self._set(parcel, stops, moment)

    def hand_over(self, giver: Owner, taker: Owner, moment: Moment) -> None:
        """Owner → edge → next owner: head and tail modules go from turn to turn."""
        cluster = self.cluster
        stops = owner_stops(cluster, self.facts.n_units, giver)
        names = _names(self.facts, stops)
        if not names:
            return
        edge, domain = Address(cluster.edge, COORDINATOR), self._domain
        sent = self.dispatcher.send(self._get(stops, moment, cluster.edge), edge)
        arguments = cluster.id, giver.device, names, domain, moment, taker.device
        reply = self.dispatcher.call(
            edge, "pass_on", *arguments, parcels=[sent], makes=1, keys=(cluster.id,)
        )
        stops = owner_stops(cluster, self.facts.n_units, taker)
        self._set(reply.parcels[0], stops, moment)

    def collect(self, moment: Moment) -> Collected:
        """Cluster → edge, and the average over the cluster's owners.

        A dispensable owner that is lost from now on is left out, unless its update has come.

        Raises:
            LostDeviceError: Another device is lost, or too many are for a secure sum.
        """
        cluster, domain = self.cluster, self._domain
        edge = Address(cluster.edge, COORDINATOR)
        samples = {owner.device: owner.samples for owner in cluster.owners}
        with self.dispatcher.bear(self.dispensable) as lost:
            if self.secure:
                self._collect_masked(moment, lost)
            devices = self._gather(moment)
            self.dispatcher.settle()
            missing = {device: samples[device] for device in sorted(lost) if device in devices}
            if missing:
                self.dispatcher.call(edge, "leave_out", cluster.id, missing, keys=(cluster.id,))
            arguments, keys = (cluster.id, domain, sum(samples.values())), (cluster.id, domain)
            closed = self.dispatcher.call(edge, "close_cluster", *arguments, keys=keys).values
        reasons = {devices.get(each, each): why for each, why in closed["rejected"].items()}
        told = {device: error.message for device, error in lost.items()}
        return Collected(samples=closed["samples"], rejected=reasons, lost=told)

    def _gather(self, moment: Moment) -> dict[str, str]:
        """Modules that come unmasked, into the edge's pools; returns devices by source."""
        cluster = self.cluster
        edge, domain = Address(cluster.edge, COORDINATOR), self._domain
        samples = {owner.device: owner.samples for owner in cluster.owners}
        devices: dict[str, str] = {}
        for device, stops in self._devices(down=False):
            names = _names(self.facts, stops)
            if not names or (self.secure and stops[0].owner is not None):
                continue
            sent = self.dispatcher.send(self._get(stops, moment, cluster.edge), edge)
            owned = stops[0].owner is not None
            pool = owner_pool(cluster.id) if owned else body_pool(cluster.id)
            source = device if owned else stops[0].stage
            devices[source] = device
            arguments = pool, source, samples[device] if owned else 0, names, domain, moment
            self.dispatcher.call(
                edge, "collect_stages", *arguments, parcels=[sent], keys=(cluster.id,)
            )
        return devices

    def _collect_masked(self, moment: Moment, lost: Mapping[str, LostDeviceError]) -> None:
        cluster = self.cluster
        own = [(o, owner_stops(cluster, self.facts.n_units, o)) for o in cluster.owners]
        owners = [
            OwnStages(owner=owner, stops=stops, names=_names(self.facts, stops))
            for owner, stops in own
        ]
        if owners[0].names:
            SecureCollection(
                dispatcher=self.dispatcher,
                cluster=cluster,
                domain=self._domain,
                moment=moment,
                owners=owners,
                lost=lost,
            ).run()

    @property
    def _domain(self) -> str:
        return domain_of(self.cluster, self.personal)

    def _devices(self, *, down: bool) -> Iterator[tuple[str, tuple[Stop, ...]]]:
        """Owners (head and tail together) and body stages that exchange modules with the edge."""
        cluster = self.cluster
        owners: Iterable[Owner] = cluster.owners
        if cluster.handover == "relay":
            owners = cluster.owners[:1] if down else cluster.owners[-1:]
        for owner in owners:
            yield owner.device, owner_stops(cluster, self.facts.n_units, owner)
        for stop in stops_of(cluster, self.facts.n_units):
            if stop.owner is None:
                yield stop.address.device, (stop,)

    def _get(self, stops: tuple[Stop, ...], moment: Moment, receiver: str) -> Parcel:
        names, own = tuple(stop.stage for stop in stops), stops[0].owner is not None
        arguments = names, moment, receiver, own
        reply = self.dispatcher.call(
            stops[0].address, "get_modules", *arguments, makes=1, keys=names
        )
        return reply.parcels[0]

    def _set(self, parcel: Parcel, stops: tuple[Stop, ...], moment: Moment) -> None:
        names = tuple(stop.stage for stop in stops)
        sent = self.dispatcher.send(parcel, Address(stops[0].address.device, HOLDER))
        self.dispatcher.call(
            stops[0].address, "set_modules", names, moment, parcels=[sent], keys=names
        )


def give(
    dispatcher: Dispatcher,
    giver: str,
    domain: str,
    moment: Moment,
    receiver: str,
    names: tuple[str, ...] | None = None,
    *,
    key: str | None = None,
) -> Parcel:
    """Modules from a coordinator; in the journal, calls with one key keep their order."""
    arguments = domain, moment, receiver, names
    address, keys = Address(giver, COORDINATOR), (key or domain,)
    return dispatcher.call(address, "give", *arguments, makes=1, keys=keys).parcels[0]


def _names(facts: ModelFacts, stops: Iterable[Stop]) -> tuple[str, ...]:
    held = {name for stop in stops for name in facts.names_in(stop.first_unit, stop.last_unit)}
    return tuple(name for name in facts.tunable if name in held)
