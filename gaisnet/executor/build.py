"""Puts everything that a plan names in its place: holders, stages, data, coordinators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaisnet.executor.aggregate import ModuleState
from gaisnet.executor.blueprints import (
    CoordinatorBlueprint,
    DataSource,
    HolderBlueprint,
    ModelSource,
)
from gaisnet.executor.chain import HOLDER, Stop, stops_of
from gaisnet.executor.coordinator import COORDINATOR
from gaisnet.executor.data import Shard
from gaisnet.executor.dispatch import Dispatcher
from gaisnet.executor.engines.base import Address, Engine, Reply
from gaisnet.executor.facts import ModelFacts
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.relay import cloud_of, domain_of
from gaisnet.models import FoundationModel, tunable_state
from gaisnet.schema.base import Compute
from gaisnet.schema.job import FineTuning
from gaisnet.schema.plan import Owner, Plan

__all__ = ["Site", "build_services", "devices_of", "domains_of", "gather_data"]


@dataclass(frozen=True, kw_only=True)
class Site:
    """What services are built from."""

    run: str
    plan: Plan
    model: FoundationModel
    """With its tunable modules attached."""
    facts: ModelFacts
    fine_tuning: FineTuning
    source: ModelSource
    """Where devices find the model."""
    data: Mapping[str, DataSource | Shard]
    """Where each device has its own data, by device; samples in memory are laid there."""
    compute: Mapping[str, Compute] = field(default_factory=dict)
    """What each device is to compute on; the CPU where it is not said."""
    epoch: int = 0
    """Counts how often the run's services were put in place before."""


def build_services(engine: Engine, site: Site) -> dict[str, Reply]:
    """Place a holder with its stages and data on every device, and the coordinators.

    Returns:
        By device that computes, the reply whose ``compute`` will say on what.
    """
    stops = [s for cluster in site.plan.clusters for s in stops_of(cluster, site.plan.n_units)]
    engine.lend(site.source, site.model)
    for device in sorted({stop.address.device for stop in stops} | site.data.keys()):
        _place_holder(engine, site, device)
    held = {s.address.device: engine.call(s.address, "hold", _spec(site, s)) for s in stops}
    modules = tunable_state(site.model.module)
    edges = {cluster.edge for cluster in site.plan.clusters}
    for device in sorted(edges | {cloud_of(site.plan)}):
        _place_coordinator(engine, site, device, modules)
    return held


def gather_data(dispatcher: Dispatcher, plan: Plan) -> None:
    """Bring other devices' data to the owners that feed it: centralised training alone."""
    for owner in (owner for cluster in plan.clusters for owner in cluster.owners):
        if owner.shards != (owner.device,):
            _gather(dispatcher, owner)


def devices_of(plan: Plan) -> tuple[str, ...]:
    """Every device that a plan uses, sorted."""
    found = {stop.address.device for c in plan.clusters for stop in stops_of(c, plan.n_units)}
    found |= {shard for c in plan.clusters for owner in c.owners for shard in owner.shards}
    found |= {cluster.edge for cluster in plan.clusters} | {cloud_of(plan)}
    return tuple(sorted(found | {route.entry for route in plan.routes}))


def domains_of(plan: Plan, personal: bool) -> tuple[str, ...]:
    """Domains whose modules a run tunes, sorted."""
    return tuple(sorted({domain_of(cluster, personal) for cluster in plan.clusters}))


def _place_holder(engine: Engine, site: Site, device: str) -> None:
    address, tuning = Address(device, HOLDER), site.fine_tuning
    blueprint = HolderBlueprint(
        device=device,
        run=site.run,
        epoch=site.epoch,
        model=site.source.on(site.compute.get(device, "cpu")),
        optimizer=tuning.optimizer,
        compression=tuning.compression,
        privacy=tuning.privacy,
    )
    engine.place(address, blueprint)
    own = site.data.get(device)
    if isinstance(own, DataSource):
        engine.call(address, "read", own)
    elif own is not None:
        _, frame = Mailbox(device, site.run, site.epoch).frame(
            "data", device, own.tensors(), Moment(), stage=own.name
        )
        engine.call(address, "pool_data", own.name, [], parcels=[engine.put(frame, address)])


def _spec(site: Site, stop: Stop) -> object:
    return stop.spec(site.facts.crosses_below(stop.first_unit))


def _place_coordinator(engine: Engine, site: Site, device: str, modules: ModuleState) -> None:
    address, tuning = Address(device, COORDINATOR), site.fine_tuning
    blueprint = CoordinatorBlueprint(
        device=device,
        run=site.run,
        epoch=site.epoch,
        aggregator=tuning.aggregator,
        trim_fraction=tuning.trim_fraction,
        gate=tuning.update_gate,
    )
    engine.place(address, blueprint)
    _, frame = Mailbox(device, site.run, site.epoch).frame("modules", device, modules, Moment())
    domains = domains_of(site.plan, tuning.personal)
    engine.call(address, "start", domains, parcels=[engine.put(frame, address)])


def _gather(dispatcher: Dispatcher, owner: Owner) -> None:
    here = Address(owner.device, HOLDER)
    arrived = []
    for shard in owner.shards:
        if shard != owner.device:
            there = Address(shard, HOLDER)
            reply = dispatcher.call(there, "upload_data", shard, owner.device, makes=1)
            arrived += [dispatcher.send(parcel, here) for parcel in reply.parcels]
    own = [shard for shard in owner.shards if shard == owner.device]
    dispatcher.call(here, "pool_data", owner.device, own, parcels=arrived)
