"""Puts everything that a plan names in its place: holders, stages, data, coordinators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gaisnet.executor.aggregate import Aggregator, ModuleState
from gaisnet.executor.chain import HOLDER, Stop, stops_of
from gaisnet.executor.coordinator import COORDINATOR, Coordinator
from gaisnet.executor.data import Shard
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Address, Engine
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.gate import UpdateGate
from gaisnet.executor.holder import Holder
from gaisnet.executor.relay import cloud_of, domain_of
from gaisnet.models import FoundationModel, tunable_state
from gaisnet.schema.job import FineTuning
from gaisnet.schema.plan import Owner, Plan

__all__ = ["Site", "build_services", "domains_of", "gather_data"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What services are built from."""

    run: str
    plan: Plan
    model: FoundationModel
    """With its tunable modules attached."""
    facts: ModelFacts
    fine_tuning: FineTuning
    aggregator: Aggregator
    shards: Mapping[str, Shard]
    """Each device's own data, by device."""


def build_services(engine: Engine, site: Site) -> None:
    """Place a holder with its stages and data on every device, and the coordinators."""
    stops = [s for cluster in site.plan.clusters for s in stops_of(cluster, site.plan.n_units)]
    for device in sorted({stop.address.device for stop in stops} | site.shards.keys()):
        _place_holder(engine, site, device)
    for stop in stops:
        engine.call(stop.address, "hold", _spec(site, stop))
    modules = tunable_state(site.model.module)
    edges = {cluster.edge for cluster in site.plan.clusters}
    for device in sorted(edges | {cloud_of(site.plan)}):
        _place_coordinator(engine, site, device, modules)


def gather_data(dispatcher: Dispatcher, plan: Plan) -> None:
    """Bring other devices' data to the owners that feed it: centralised training alone."""
    for owner in (owner for cluster in plan.clusters for owner in cluster.owners):
        if owner.shards != (owner.device,):
            _gather(dispatcher, owner)


def domains_of(plan: Plan, personal: bool) -> tuple[str, ...]:
    """Domains whose modules a run tunes, sorted."""
    return tuple(sorted({domain_of(cluster, personal) for cluster in plan.clusters}))


def _place_holder(engine: Engine, site: Site, device: str) -> None:
    address = Address(device, HOLDER)

    def make() -> Holder:
        tuning = site.fine_tuning
        return Holder(device, site.run, site.model, tuning.optimizer, tuning.compression)

    engine.place(address, make)
    if device in site.shards:
        engine.call(address, "own", site.shards[device])


def _spec(site: Site, stop: Stop) -> object:
    return stop.spec(site.facts.crosses_below(stop.first_unit))


def _place_coordinator(engine: Engine, site: Site, device: str, modules: ModuleState) -> None:
    def make() -> Coordinator:
        domains = domains_of(site.plan, site.fine_tuning.personal)
        first = {domain: modules for domain in domains}
        gate = UpdateGate(site.fine_tuning.update_gate)
        return Coordinator(device, site.run, site.aggregator, gate, first)

    engine.place(Address(device, COORDINATOR), make)


def _gather(dispatcher: Dispatcher, owner: Owner) -> None:
    here = Address(owner.device, HOLDER)
    arrived = []
    for shard in owner.shards:
        if shard != owner.device:
            there = Address(shard, HOLDER)
            reply = dispatcher.call(there, "upload_data", shard, owner.device)
            arrived += [dispatcher.send(parcel, here) for parcel in reply.parcels]
    own = [shard for shard in owner.shards if shard == owner.device]
    dispatcher.call(here, "pool_data", owner.device, own, parcels=arrived)
