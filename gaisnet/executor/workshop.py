"""Builds services from blueprints, in the process in which they are to live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gaisnet.errors import MismatchError
from gaisnet.executor.aggregate import aggregator_of
from gaisnet.executor.blueprints import (
    Blueprint,
    BodyBlueprint,
    ConductorBlueprint,
    CoordinatorBlueprint,
    EntryBlueprint,
    HolderBlueprint,
    ModelSource,
    ModulesBlueprint,
    ProbeBlueprint,
    Span,
)
from gaisnet.executor.compute import own_compute
from gaisnet.executor.conductor import Conductor
from gaisnet.executor.coordinator import Coordinator
from gaisnet.executor.engines.base import Engine
from gaisnet.executor.gate import UpdateGate
from gaisnet.executor.holder import Holder
from gaisnet.executor.inference.body import BodyServer
from gaisnet.executor.inference.entry import EntryServer
from gaisnet.executor.inference.generation import Generation
from gaisnet.executor.inference.modules import ModuleSource
from gaisnet.executor.inference.port import Port
from gaisnet.executor.mailbox import Mailbox
from gaisnet.executor.privacy import Guard
from gaisnet.executor.probe import Probe
from gaisnet.models import FoundationModel, Stage, attach, load_model, make_stage
from gaisnet.models.accelerator import place_of
from gaisnet.models.identity import model_fingerprint, weights_sha256

__all__ = ["Workshop", "load_source"]


def load_source(source: ModelSource, device: str | None = None) -> FoundationModel:
    """A model with its tunable modules, fitted for its aggregator, to be computed with there.

    Its values are drawn on the CPU, so that they are the same wherever it is.

    Args:
        source: Which model, and on what it is computed with.
        device: Id of the device that does so, if it is one of a plan's.

    Raises:
        ModelError: It cannot be loaded.
        MismatchError: It is not the one that is expected, or there is no GPU for it.
    """
    place, spec = place_of(source.compute, device), source.local_spec()
    model = load_model(spec, accepted=source.accepted_here())
    if source.tunable is not None:
        model = attach(model, source.tunable, seed=spec.seed)
    _check_identity(source, model)
    aggregator_of(source.aggregator).prepare(model)
    return model.to(place)


class Workshop:
    """Services of one process; they share the frozen weights of its models.

    Args:
        engine: For services that call others.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._models: dict[str, FoundationModel] = {}
        self._makers: Mapping[type, Callable[[Any], object]] = {
            HolderBlueprint: self._holder,
            CoordinatorBlueprint: self._coordinator,
            ConductorBlueprint: self._conductor,
            BodyBlueprint: self._body,
            EntryBlueprint: self._entry,
            ModulesBlueprint: lambda blueprint: ModuleSource(_mailbox(blueprint)),
            ProbeBlueprint: lambda blueprint: Probe(_mailbox(blueprint)),
        }

    def lend(self, source: ModelSource, model: FoundationModel) -> None:
        """Use a model that was loaded already."""
        self._models[source.model_dump_json()] = model

    def model(self, source: ModelSource, device: str) -> FoundationModel:
        """The model of a source, where ``device`` computes; each is loaded once.

        Raises:
            UsageError: As ``own_compute``, and otherwise as ``load_source``.
        """
        source = source.on(own_compute() or source.compute)
        key = source.model_dump_json()
        if key not in self._models:
            self._models[key] = load_source(source, device)
        return self._models[key]

    def build(self, blueprint: Blueprint) -> object:
        """A new service; raises as ``load_source``."""
        return self._makers[type(blueprint)](blueprint)

    def _holder(self, blueprint: HolderBlueprint) -> Holder:
        model = self.model(blueprint.model, blueprint.device)
        guard = Guard(blueprint.privacy, blueprint.device, blueprint.run)
        return Holder(
            blueprint.device,
            blueprint.run,
            model,
            blueprint.optimizer,
            blueprint.compression,
            guard=guard,
            epoch=blueprint.epoch,
        )

    def _coordinator(self, blueprint: CoordinatorBlueprint) -> Coordinator:
        aggregator = aggregator_of(blueprint.aggregator, trim_fraction=blueprint.trim_fraction)
        gate = UpdateGate(blueprint.gate)
        return Coordinator(_mailbox(blueprint), blueprint.run, aggregator, gate)

    def _conductor(self, blueprint: ConductorBlueprint) -> Conductor:
        known = blueprint.clusters, blueprint.facts, blueprint.settings, blueprint.dispensable
        return Conductor(self._engine, *known)

    def _body(self, blueprint: BodyBlueprint) -> BodyServer:
        model = self.model(blueprint.model, blueprint.device)
        return BodyServer(model, _stage(model, blueprint.span), _port(model, blueprint))

    def _entry(self, blueprint: EntryBlueprint) -> EntryServer:
        model, tokens = self.model(blueprint.model, blueprint.device), blueprint.new_tokens
        head = None if blueprint.head is None else _stage(model, blueprint.head)
        tail = None if blueprint.tail is None else _stage(model, blueprint.tail)
        generation = Generation.of(model, tokens) if tokens else None
        guard = Guard(blueprint.privacy, blueprint.device, blueprint.run)
        return EntryServer(model, head, tail, _port(model, blueprint), guard, generation)


def _stage(model: FoundationModel, span: Span) -> Stage:
    return make_stage(model, span.first_unit, span.last_unit)


def _port(model: FoundationModel, blueprint: BodyBlueprint | EntryBlueprint) -> Port:
    compression, name = blueprint.compression, blueprint.name
    return Port(blueprint.device, blueprint.run, model, compression, name, blueprint.epoch)


def _mailbox(blueprint: CoordinatorBlueprint | ModulesBlueprint | ProbeBlueprint) -> Mailbox:
    return Mailbox(blueprint.device, blueprint.run, blueprint.epoch)


def _check_identity(source: ModelSource, model: FoundationModel) -> None:
    known = source.fingerprint
    if known is not None and model_fingerprint(model) != known:
        raise MismatchError(
            f"{source.spec.source} is another model here: its parameters differ",
            hint="put the model of the plan on every device",
        )
    weights = source.weights_sha256
    if weights is not None and weights_sha256(model.spec) != weights:
        raise MismatchError(
            f"the weights of {source.spec.source} are not those that were profiled",
            hint="put the model of the plan on every device",
        )
