"""Takes a run's state out of its services, and puts it back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping

from torch import Tensor

from gaisnet.executor.aggregate import Aggregator, Contribution
from gaisnet.executor.chain import HOLDER, stops_of
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.engines.base import Address, Engine
from gaisnet.executor.frames import decode
from gaisnet.executor.gate import Norms
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.relay import GENERAL, cloud_of, domain_of
from gaisnet.schema.plan import Plan

__all__ = ["Snapshots"]

_DRIVER = "driver"


class Snapshots:
    """Reads and restores modules and optimizer states of the services of a plan.

    Args:
        engine: Where the services are.
        plan: Names them.
        personal: Whether each domain has modules of its own.
        run: Id of the run.
        epoch: Of the run.
    """

    def __init__(
        self, engine: Engine, plan: Plan, personal: bool, run: str, epoch: int = 0
    ) -> None:
        self._engine = engine
        self._mailbox = Mailbox(_DRIVER, run, epoch)
        self._samples: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._stages: defaultdict[str, list[str]] = defaultdict(list)
        cloud = cloud_of(plan)
        self._coordinators = sorted({cloud, *(c.edge for c in plan.clusters)})
        for cluster in plan.clusters:
            domain = domain_of(cluster, personal)
            self._samples[cluster.edge, domain] += sum(o.samples for o in cluster.owners)
            for stop in stops_of(cluster, plan.n_units):
                self._stages[stop.address.device].append(stop.stage)
        self._kept = sorted({*self._samples, *((cloud, domain) for _, domain in self._samples)})

    def modules(self) -> dict[str, Tensor]:
        """Every coordinator's modules, by ``device|domain|parameter``."""
        return {
            f"{device}|{domain}|{name}": tensor
            for device, domain in self._kept
            for name, tensor in sorted(self._modules_at(device, domain).items())
        }

    def optimizers(self, without: Container[str] = ()) -> dict[str, Tensor]:
        """Every stage's optimizer state, by ``device|stage|parameter|key``.

        Args:
            without: Devices that are not asked.
        """
        state: dict[str, Tensor] = {}
        left = [(device, held) for device, held in self._stages.items() if device not in without]
        for device, stages in sorted(left):
            address = Address(device, HOLDER)
            reply = self._engine.call(address, "export_optimizers", stages, Moment(), makes=1)
            _, held = decode(self._engine.fetch(reply.parcels[0]))
            state |= {f"{device}|{key}": tensor for key, tensor in sorted(held.items())}
        return state

    def norms(self) -> dict[str, Norms]:
        """What every coordinator's gate remembers, by device."""
        found = {}
        for device in self._coordinators:
            reply = self._engine.call(Address(device, COORDINATOR), "export_norms")
            found[device] = reply.values["norms"]
        return found

    def restore(
        self,
        modules: Mapping[str, Tensor],
        optimizers: Mapping[str, Tensor],
        norms: Mapping[str, Norms],
    ) -> None:
        """Put back what ``modules``, ``optimizers`` and ``norms`` gave."""
        for device in self._coordinators:
            address = Address(device, COORDINATOR)
            self._engine.call(address, "import_norms", norms.get(device, {}))
        for device, domain in self._kept:
            state = _below(modules, f"{device}|{domain}|")
            _, frame = self._mailbox.frame("modules", device, state, Moment())
            address = Address(device, COORDINATOR)
            parcel = self._engine.put(frame, address)
            self._engine.call(address, "take", domain, Moment(), parcels=[parcel])
        for device, stages in sorted(self._stages.items()):
            state = _below(optimizers, f"{device}|")
            _, frame = self._mailbox.frame("history", device, state, Moment())
            address = Address(device, HOLDER)
            parcel = self._engine.put(frame, address)
            self._engine.call(address, "import_optimizers", stages, Moment(), parcels=[parcel])

    def by_domain(self, aggregator: Aggregator) -> dict[str, dict[str, Tensor]]:
        """The modules of each domain over all edges, and the general ones.

        General modules are those of the domain of that name, or the average over the domains.
        """
        domains: dict[str, dict[str, Tensor]] = {}
        weights: dict[str, int] = {}
        for domain in sorted({domain for _, domain in self._samples}):
            edges = [edge for edge, held in sorted(self._samples) if held == domain]
            parts = {
                e: Contribution(self._samples[e, domain], self._modules_at(e, domain))
                for e in edges
            }
            domains[domain] = aggregator.average(parts)
            weights[domain] = sum(part.samples for part in parts.values())
        if GENERAL not in domains:
            whole = {d: Contribution(weights[d], state) for d, state in domains.items()}
            domains[GENERAL] = aggregator.average(whole)
        return domains

    def _modules_at(self, edge: str, domain: str) -> dict[str, Tensor]:
        address = Address(edge, COORDINATOR)
        reply = self._engine.call(address, "give", domain, Moment(), edge, makes=1)
        return decode(self._engine.fetch(reply.parcels[0]))[1]


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
