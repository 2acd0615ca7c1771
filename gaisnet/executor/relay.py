"""The data-free knowledge relay: cloud → edge → clusters, and back, in nothing but modules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gaisnet.executor.chain import HOLDER, Stop, owner_stops, stops_of
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Address, Parcel
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.pool import body_pool, cloud_pool, edge_pool, owner_pool
from gaisnet.executor.secure_relay import OwnStages, SecureCollection
from gaisnet.schema.plan import ClusterPlan, Owner, Plan

__all__ = ["GENERAL", "Collected", "Relay", "cloud_of", "domain_of"]

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


@dataclass(frozen=True, kw_only=True)
class Relay:
    """Moves modules between cloud, edges and clusters."""

    dispatcher: Dispatcher
    plan: Plan
    facts: ModelFacts
    personal: bool
    secure: bool = False
    """Whether owners' modules reach their edge masked."""

    def distribute(self, cluster: ClusterPlan, moment: Moment) -> None:
        """Edge → cluster: every stage gets the current modules of its units.

        With ``handover: relay`` the first owner gets them; the others get them by ``hand_over``.
        """
        edge, domain = cluster.edge, domain_of(cluster, self.personal)
        for device, stops in self._devices(cluster, down=True):
            names = _names(self.facts, stops)
            if names:
                parcel = self._give(edge, domain, moment, device, names, key=cluster.id)
                self._set(parcel, stops, moment)

    def hand_over(self, cluster: ClusterPlan, giver: Owner, taker: Owner, moment: Moment) -> None:
        """Owner → edge → next owner: head and tail modules go from turn to turn."""
        stops = owner_stops(cluster, self.plan.n_units, giver)
        names = _names(self.facts, stops)
        if not names:
            return
        edge, domain = Address(cluster.edge, COORDINATOR), domain_of(cluster, self.personal)
        sent = self.dispatcher.send(self._get(stops, moment, cluster.edge), edge)
        arguments = cluster.id, giver.device, names, domain, moment, taker.device
        reply = self.dispatcher.call(
            edge, "pass_on", *arguments, parcels=[sent], makes=1, keys=(cluster.id,)
        )
        stops = owner_stops(cluster, self.plan.n_units, taker)
        self._set(reply.parcels[0], stops, moment)

    def collect(self, cluster: ClusterPlan, moment: Moment) -> Collected:
        """Cluster → edge, and the average over the cluster's owners."""
        edge, domain = Address(cluster.edge, COORDINATOR), domain_of(cluster, self.personal)
        samples = {owner.device: owner.samples for owner in cluster.owners}
        devices = {device: device for device in samples}
        if self.secure:
            self._collect_masked(cluster, domain, moment)
        for device, stops in self._devices(cluster, down=False):
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
        reply = self.dispatcher.call(
            edge,
            "close_cluster",
            *(cluster.id, domain, sum(samples.values())),
            keys=(cluster.id, domain),
        )
        reasons = {devices[source]: why for source, why in reply.values["rejected"].items()}
        return Collected(samples=reply.values["samples"], rejected=reasons)

    def _collect_masked(self, cluster: ClusterPlan, domain: str, moment: Moment) -> None:
        own = [(o, owner_stops(cluster, self.plan.n_units, o)) for o in cluster.owners]
        owners = [
            OwnStages(owner=owner, stops=stops, names=_names(self.facts, stops))
            for owner, stops in own
        ]
        if owners[0].names:
            SecureCollection(
                dispatcher=self.dispatcher,
                cluster=cluster,
                domain=domain,
                moment=moment,
                owners=owners,
            ).run()

    def average_edges(self, counted: Mapping[str, int]) -> None:
        """Each edge averages its clusters, per domain; ``counted`` as in ``average_cloud``."""
        for edge, domain, _ in self._edge_domains(counted):
            address = Address(edge, COORDINATOR)
            self.dispatcher.call(address, "close", edge_pool(domain), domain, keys=(domain,))

    def average_cloud(self, moment: Moment, counted: Mapping[str, int]) -> dict[str, str]:
        """Edges → cloud, the average over the edges per domain, cloud → edges.

        Args:
            moment: The round.
            counted: Samples behind each cluster's modules, by cluster; an edge of which none
                counted is left out of the average, and gets it all the same.

        Returns:
            Reasons why an edge's modules were rejected, by edge.
        """
        cloud = Address(cloud_of(self.plan), COORDINATOR)
        held = list(self._edge_domains(counted))
        for edge, domain, samples in held:
            if not samples:
                continue
            parcel = self._give(edge, domain, moment, cloud.device)
            sent = self.dispatcher.send(parcel, cloud)
            arguments = edge, samples, domain, moment
            keys = (cloud_pool(domain),)
            self.dispatcher.call(cloud, "collect_edge", *arguments, parcels=[sent], keys=keys)
        rejected: dict[str, str] = {}
        for domain in sorted({domain for _, domain, _ in held}):
            pool = cloud_pool(domain)
            reply = self.dispatcher.call(cloud, "close", pool, domain, keys=(pool, domain))
            rejected |= reply.values["rejected"]
        for edge, domain, _ in held:
            if edge != cloud.device:
                address = Address(edge, COORDINATOR)
                parcel = self._give(cloud.device, domain, moment, edge)
                sent = self.dispatcher.send(parcel, address)
                self.dispatcher.call(
                    address, "take", domain, moment, parcels=[sent], keys=(domain,)
                )
        return rejected

    def _edge_domains(self, counted: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
        """Edges with the domains that their clusters tune, and the samples that count there."""
        samples: defaultdict[tuple[str, str], int] = defaultdict(int)
        for cluster in self.plan.clusters:
            samples[cluster.edge, domain_of(cluster, self.personal)] += counted[cluster.id]
        yield from ((edge, domain, n) for (edge, domain), n in sorted(samples.items()))

    def _devices(
        self, cluster: ClusterPlan, *, down: bool
    ) -> Iterator[tuple[str, tuple[Stop, ...]]]:
        """Owners (head and tail together) and body stages that exchange modules with the edge."""
        owners: Iterable[Owner] = cluster.owners
        if cluster.handover == "relay":
            owners = cluster.owners[:1] if down else cluster.owners[-1:]
        for owner in owners:
            yield owner.device, owner_stops(cluster, self.plan.n_units, owner)
        for stop in stops_of(cluster, self.plan.n_units):
            if stop.owner is None:
                yield stop.address.device, (stop,)

    def _give(
        self,
        giver: str,
        domain: str,
        moment: Moment,
        receiver: str,
        names: tuple[str, ...] | None = None,
        key: str | None = None,
    ) -> Parcel:
        """Modules from a coordinator; on the clock, calls with one key keep their order."""
        arguments = domain, moment, receiver, names
        reply = self.dispatcher.call(
            Address(giver, COORDINATOR), "give", *arguments, makes=1, keys=(key or domain,)
        )
        return reply.parcels[0]

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


def _names(facts: ModelFacts, stops: Iterable[Stop]) -> tuple[str, ...]:
    held = {name for stop in stops for name in facts.names_in(stop.first_unit, stop.last_unit)}
    return tuple(name for name in facts.tunable if name in held)
