"""Hypothesis strategies for the five files, derived from the models themselves.

Every field's strategy follows its type and limits; what only a validator knows is put right here.
"""

from __future__ import annotations

import itertools
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as limits
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gaisnet.schema import calibration, fleet, job, plan, profile, run

FILES = (
    fleet.Fleet,
    job.Job,
    profile.Profile,
    calibration.CalibrationStep,
    plan.Plan,
    run.RunManifest,
    run.RoundMetrics,
    run.ServiceMetrics,
    run.Event,
)
TIERS = {"end", "edge", "cloud"}
identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
printable = st.characters(codec="utf-8", categories=["L", "N", "P", "S"])
text = st.text(printable | st.sampled_from(" \n\t"), min_size=1, max_size=12)


def of(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Valid instances of a model."""
    if model in _SPECIAL:
        return st.deferred(_SPECIAL[model])
    return _plain(model)


def _plain(model: type[BaseModel], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fields = {
        name: _of_type(field.annotation, field.metadata)
        for name, field in model.model_fields.items()
        if name not in given
    }
    return st.builds(model, **fields, **given)


def _of_type(kind: Any, metadata: Any = ()) -> st.SearchStrategy[Any]:
    if get_origin(kind) is Annotated:
        inner, *more = get_args(kind)
        nested = [each.metadata if isinstance(each, FieldInfo) else [each] for each in more]
        return _of_type(inner, [*metadata, *itertools.chain(*nested)])
    if get_origin(kind) in (Union, types.UnionType):
        return st.one_of(*(_of_type(branch, metadata) for branch in get_args(kind)))
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) in (tuple, dict):
        return _of_container(get_origin(kind), get_args(kind), metadata)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return of(kind)
    return _of_scalar(kind, metadata)


def _of_container(origin: Any, inner: Any, metadata: Any) -> st.SearchStrategy[Any]:
    if origin is dict:
        return st.dictionaries(_of_type(inner[0]), _of_type(inner[1]), max_size=2)
    if inner[-1] is not Ellipsis:
        return st.tuples(*map(_of_type, inner))
    least = max((m.min_length for m in metadata if isinstance(m, limits.MinLen)), default=0)
    return st.lists(_of_type(inner[0]), min_size=least, max_size=2).map(tuple)


def _of_scalar(kind: Any, metadata: Any) -> st.SearchStrategy[Any]:
    pattern = next((m.pattern for m in metadata if getattr(m, "pattern", None)), None)
    low, high, open_low, open_high = _range(metadata)
    if kind is int:
        return st.integers(-(2**62) if low is None else low, 2**62 if high is None else high)
    if kind is float:
        return st.floats(
            low,
            high,
            exclude_min=open_low,
            exclude_max=open_high,
            allow_nan=False,
            allow_infinity=False,
        )
    if kind is str and pattern is not None:
        return identifiers if "{0,63}" in pattern else st.from_regex(pattern, fullmatch=True)
    return {str: text, bool: st.booleans(), type(None): st.none()}[kind]


def _range(metadata: Any) -> tuple[Any, Any, bool, bool]:
    low = next((m.ge for m in metadata if isinstance(m, limits.Ge)), None)
    above = next((m.gt for m in metadata if isinstance(m, limits.Gt)), None)
    high = next((m.le for m in metadata if isinstance(m, limits.Le)), None)
    below = next((m.lt for m in metadata if isinstance(m, limits.Lt)), None)
    return (
        above if above is not None else low,
        below if below is not None else high,
        above is not None,
        below is not None,
    )


def _data_shards() -> st.SearchStrategy[Any]:
    counted = st.lists(st.integers(0, 99), min_size=1, max_size=4).flatmap(
        lambda counts: _plain(
            fleet.DataShard,
            samples=st.just(sum(counts)),
            label_histogram=st.just(tuple(counts)),
        )
    )
    return counted | _plain(fleet.DataShard, label_histogram=st.none())


def _devices() -> st.SearchStrategy[Any]:
    none = {"preset": st.none(), "profile": st.none(), "figures": st.none(), "edge": st.none()}
    sources = {"preset": text, "profile": text, "figures": of(fleet.DeviceFigures)}
    return st.one_of(
        *(_plain(fleet.Device, **{**none, name: source}) for name, source in sources.items())
    )


def _links() -> st.SearchStrategy[Any]:
    bandwidth = st.floats(1e-30, 1e30)
    return st.one_of(
        _plain(fleet.Link, bandwidth_bits_per_s=bandwidth, radio=st.none()),
        _plain(fleet.Link, bandwidth_bits_per_s=st.none(), radio=_radios()),
    )


def _radios() -> st.SearchStrategy[Any]:
    return _plain(fleet.Radio, distance_m=st.floats(1e-30, 1e30))


@st.composite
def _fleets(draw: st.DrawFn) -> fleet.Fleet:
    names = identifiers.filter(lambda name: name not in TIERS)
    ids = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    devices = [draw(_devices()).model_copy(update={"id": name}) for name in ids]
    ends = st.sampled_from([*ids, *sorted(TIERS)])
    links = [
        draw(_links()).model_copy(update={"between": draw(st.tuples(ends, ends))})
        for _ in range(draw(st.integers(0, 2)))
    ]
    edges = [device.id for device in devices if device.tier != "end"]
    if edges:
        devices[0] = devices[0].model_copy(update={"edge": draw(st.sampled_from(edges))})
    return fleet.Fleet(devices=tuple(devices), links=tuple(links), name=draw(identifiers))


def _privacy() -> st.SearchStrategy[Any]:
    noisy = _plain(job.PrivacySpec, update_clip_norm=st.floats(1e-30, 1e30))
    quiet = _plain(job.PrivacySpec, update_clip_norm=st.none(), noise_multiplier=st.just(0.0))
    return noisy | quiet


def _fine_tunings() -> st.SearchStrategy[Any]:
    open_sums = _privacy().map(lambda p: p.model_copy(update={"secure_aggregation": False}))
    return st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(
        lambda pair: (
            _plain(
                job.FineTuning,
                batch_size=st.just(pair[0] * pair[1]),
                microbatches=st.just(pair[1]),
                privacy=open_sums,
            )
            | _plain(
                job.FineTuning,
                batch_size=st.just(pair[0] * pair[1]),
                microbatches=st.just(pair[1]),
                privacy=_privacy(),
                aggregator=st.sampled_from(["fedavg", "ffa_lora"]),
            )
        )
    )


def _jobs() -> st.SearchStrategy[Any]:
    wanting = of(job.Service).filter(lambda s: s.slo_s is not None or s.delay_weight > 0.0)
    services = st.lists(wanting, max_size=2, unique_by=lambda s: s.id).map(tuple)
    return _plain(job.Job, services=services)


@st.composite
def _model_parts(draw: st.DrawFn) -> profile.ModelPart:
    units = draw(st.lists(of(profile.UnitPart), min_size=1, max_size=2).map(tuple))
    counted = st.lists(of(profile.RankUnit), min_size=len(units), max_size=len(units)).map(tuple)
    ranks = st.lists(_plain(profile.RankPart, units=counted), max_size=2).map(tuple)
    return draw(_plain(profile.ModelPart, units=st.just(units), ranks=ranks))


def _stages() -> st.SearchStrategy[Any]:
    return st.tuples(st.integers(0, 9), st.integers(0, 9)).flatmap(
        lambda pair: _plain(plan.Stage, first_unit=st.just(min(pair)), last_unit=st.just(max(pair)))
    )


@st.composite
def _plans(draw: st.DrawFn) -> plan.Plan:
    n_units = draw(st.integers(1, 12))
    clusters = draw(st.lists(_clusters(n_units), min_size=1, max_size=2).map(tuple))
    return draw(_plain(plan.Plan, n_units=st.just(n_units), clusters=st.just(clusters)))


@st.composite
def _clusters(draw: st.DrawFn, n_units: int) -> plan.ClusterPlan:
    cuts = sorted(draw(st.sets(st.integers(0, n_units), min_size=1, max_size=4)))
    body = tuple(
        plan.Stage(device=draw(identifiers), first_unit=first, last_unit=after - 1)
        for first, after in itertools.pairwise(cuts)
    )
    return draw(
        _plain(
            plan.ClusterPlan,
            head_units=st.just(cuts[0]),
            tail_first_unit=st.just(cuts[-1]),
            body=st.just(body),
        )
    )


_SPECIAL: dict[type[BaseModel], Any] = {
    fleet.DataShard: _data_shards,
    fleet.Device: _devices,
    fleet.Link: _links,
    fleet.Fleet: _fleets,
    job.FineTuning: _fine_tunings,
    job.PrivacySpec: _privacy,
    job.Job: _jobs,
    profile.ModelPart: _model_parts,
    plan.Stage: _stages,
    plan.Plan: _plans,
}
