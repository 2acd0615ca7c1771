"""The data-free knowledge relay above the clusters: edges average, and the cloud over them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Address
from gaisnet.executor.mailbox import Moment
from gaisnet.executor.pool import cloud_pool, edge_pool
from gaisnet.executor.relay import cloud_of, domain_of, give
from gaisnet.schema.plan import Plan

__all__ = ["Averaging"]


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """Averages modules over clusters and edges, and moves them between edges and cloud."""

    dispatcher: Dispatcher
    plan: Plan
    personal: bool

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
            parcel = give(self.dispatcher, edge, domain, moment, cloud.device)
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
                parcel = give(self.dispatcher, cloud.device, domain, moment, edge)
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
