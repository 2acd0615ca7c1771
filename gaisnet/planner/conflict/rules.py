"""The constraints of a job and its fleet by name, each with what it is like without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from gaisnet.planner.assemble import make_roster
from gaisnet.planner.conflict.case import Case, whole_bytes
from gaisnet.planner.inputs import Inputs
from gaisnet.schema.job import Constraints

__all__ = ["Rule", "rules_of", "with_clustering", "with_constraints", "with_service"]

Kind = Literal["memory", "links", "privacy", "constraint", "listed", "clustering", "slo", "service"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One constraint."""

    name: str
    """As users know it: a field of the job, or a device's memory or links."""
    kind: Kind
    subject: str
    """The device, service or field."""
    lift: Callable[[Case], Case]
    """The same case without it."""


def rules_of(inputs: Inputs) -> list[Rule]:
    """Everything that may stand in the way of a plan, in a fixed order."""
    return [
        *_services(inputs),
        *_clustering(inputs),
        *_constraints(inputs),
        *_privacy(inputs),
        *_links(inputs),
        *_memory(inputs),
    ]


def _memory(inputs: Inputs) -> Iterator[Rule]:
    enough = whole_bytes(inputs)
    for device in inputs.fleet.devices:
        yield Rule(
            name=f"memory of {device.id}",
            kind="memory",
            subject=device.id,
            lift=partial(_roomy, device.id, enough),
        )


def _roomy(device: str, enough: int, case: Case) -> Case:
    return replace(case, extra_bytes={**case.extra_bytes, device: enough})


def _bridged(device: str, case: Case) -> Case:
    return replace(case, bridged=case.bridged | {device})


def _links(inputs: Inputs) -> Iterator[Rule]:
    """Devices that lack a link to some other one."""
    cost = make_roster(inputs).cost
    names = [device.id for device in inputs.fleet.devices]
    for name in names:
        ways = [cost.links.way(*p) for o in names if o != name for p in ((name, o), (o, name))]
        if any(way.bandwidth_bytes_per_s == 0.0 for way in ways):
            yield Rule(
                name=f"links of {name}",
                kind="links",
                subject=name,
                lift=partial(_bridged, name),
            )


def _privacy(inputs: Inputs) -> Iterator[Rule]:
    for device in inputs.fleet.devices:
        if device.privacy == "owner":
            yield Rule(
                name=f"privacy of {device.id}",
                kind="privacy",
                subject=device.id,
                lift=partial(_shared, device.id),
            )


def _shared(name: str, case: Case) -> Case:
    fleet = case.inputs.fleet
    devices = tuple(
        d.model_copy(update={"privacy": "shared"}) if d.id == name else d for d in fleet.devices
    )
    fleet = fleet.model_copy(update={"devices": devices})
    return replace(case, inputs=replace(case.inputs, fleet=fleet))


def _constraints(inputs: Inputs) -> Iterator[Rule]:
    """Every field of ``constraints`` that is not at its default; lists item by item."""
    limits = inputs.job.constraints
    for field, info in Constraints.model_fields.items():
        value, default = getattr(limits, field), info.get_default(call_default_factory=True)
        if value == default:
            continue
        if isinstance(value, tuple):
            for item in value:
                yield Rule(
                    name=f"constraints.{field}: {_text(item)}",
                    kind="listed",
                    subject=field,
                    lift=partial(_unlisted, field, item),
                )
        else:
            yield Rule(
                name=f"constraints.{field} {_text(value)}",
                kind="constraint",
                subject=field,
                lift=partial(with_constraints, changes={field: default}),
            )


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unlisted(field: str, item: Any, case: Case) -> Case:
    left = tuple(each for each in getattr(case.inputs.job.constraints, field) if each != item)
    return with_constraints(case, {field: left})


def _clustering(inputs: Inputs) -> Iterator[Rule]:
    spec = inputs.job.clustering
    for field, loosest in (("clusters", None), ("min_devices", 1), ("max_devices", None)):
        value = getattr(spec, field)
        if value != loosest:
            yield Rule(
                name=f"clustering.{field} {value}",
                kind="clustering",
                subject=field,
                lift=partial(with_clustering, changes={field: loosest}),
            )


def _services(inputs: Inputs) -> Iterator[Rule]:
    for service in inputs.job.services:
        name = service.id
        if service.slo_s is not None:
            yield Rule(
                name=f"services[{name}].slo_s {service.slo_s:g}",
                kind="slo",
                subject=name,
                lift=partial(with_service, name=name, changes={"slo_s": None}),
            )
        yield Rule(
            name=f"services[{name}]",
            kind="service",
            subject=name,
            lift=partial(with_service, name=name, changes=None),
        )


def with_constraints(case: Case, changes: dict[str, Any]) -> Case:
    """The case with other fields of ``constraints``."""
    limits = case.inputs.job.constraints.model_copy(update=changes)
    return _with_job(case, {"constraints": limits})


def with_clustering(case: Case, changes: dict[str, Any]) -> Case:
    """The case with other fields of ``clustering``."""
    return _with_job(case, {"clustering": case.inputs.job.clustering.model_copy(update=changes)})


def with_service(case: Case, name: str, changes: dict[str, Any] | None) -> Case:
    """The case with other fields of a service, or without the service."""
    services = [
        s if s.id != name else s.model_copy(update=changes)
        for s in case.inputs.job.services
        if s.id != name or changes is not None
    ]
    return _with_job(case, {"services": tuple(services)})


def _with_job(case: Case, changes: dict[str, Any]) -> Case:
    job = case.inputs.job.model_copy(update=changes)
    return replace(case, inputs=replace(case.inputs, job=job))
