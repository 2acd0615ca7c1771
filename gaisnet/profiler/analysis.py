"""The part of a model's profile that needs no clock and no allocation: FLOPs, bytes, cuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gaisnet.models.foundation import FoundationModel
from gaisnet.models.identity import model_fingerprint, weights_sha256
from gaisnet.models.state import tied_groups
from gaisnet.profiler.closed_form import closed_form_flops, known_family
from gaisnet.profiler.cuts import Cuts, KVCache, kv_caches, measure_cuts
from gaisnet.profiler.flop_counter import UnitFlops, count_flops
from gaisnet.profiler.fvcore_counter import fvcore_flops
from gaisnet.profiler.standins import (
    make_fake,
    make_hollow,
    model_on_meta,
    unanalysable_as_model_error,
)
from gaisnet.profiler.unit_memory import UnitMemory
from gaisnet.profiler.unit_passes import count_passes
from gaisnet.profiler.unit_work import UnitWork
from gaisnet.schema.model import ModelSpec, TunableSpec
from gaisnet.schema.profile import FlopWitnesses, ModelPart, UnitPart

__all__ = ["Optimizer", "analyse", "optimizer_bytes"]

Optimizer = Literal["sgd", "adamw"]

_TOLERATED_DISAGREEMENT = 0.005
_ADAMW_MOMENTS = 2
_ADAMW_STEP_BYTES = 4


@dataclass(frozen=True)
class _Counts:
    """What the passes over stand-ins found."""

    flops: list[UnitFlops]
    witnesses: list[FlopWitnesses]
    memory: list[UnitMemory]
    work: list[UnitWork]
    cuts: Cuts
    kv: list[KVCache] | None


def analyse(
    spec: ModelSpec,
    tunable: TunableSpec,
    *,
    optimizer: Optimizer,
    tokens: int | None,
    seed: int,
) -> ModelPart:
    """A model part without times; nothing of the model's size is allocated.

    Args:
        spec: The model.
        tunable: Its tunable modules.
        optimizer: What updates them.
        tokens: Sequence length, for text; by default that of ``example_inputs``.
        seed: Seed of the batch.

    Raises:
        ModelError: The model cannot be built or cut, cannot have these tunable modules, or
            cannot run on the meta device.
    """
    with unanalysable_as_model_error(spec):
        model = model_on_meta(spec, tunable, seed)
        counts = _count(model, spec, tunable, tokens, seed)
    units = tuple(_unit(model, unit, counts, optimizer) for unit in range(model.n_units))
    disagreement = max(_distance(unit.witnesses) for unit in units)
    return ModelPart(
        model=spec,
        tunable=tunable,
        architecture=model.architecture,
        fingerprint=model_fingerprint(model),
        weights_sha256=weights_sha256(spec),
        optimizer=optimizer,
        tokens=counts.cuts.tokens,
        input_bytes=counts.cuts.input_bytes,
        side_input_bytes=counts.cuts.side_input_bytes,
        label_bytes=counts.cuts.label_bytes,
        units=units,
        tied_units=tuple(sorted(set(tied_groups(model).values()))),
        flops_disagreement=disagreement,
        warnings=tuple(_warnings(model, units, counts)),
    )


def optimizer_bytes(parameters: list[nn.Parameter], optimizer: Optimizer) -> int:
    """Bytes of an optimizer's state: none for plain SGD; AdamW keeps two moments and a step."""
    if optimizer == "sgd":
        return 0
    return sum(_ADAMW_MOMENTS * _bytes([p]) + _ADAMW_STEP_BYTES for p in parameters)


def _count(
    model: FoundationModel, spec: ModelSpec, tunable: TunableSpec, tokens: int | None, seed: int
) -> _Counts:
    flops = count_flops(model, tokens, seed)
    cuts = measure_cuts(model, tokens, seed)
    kv = kv_caches(model)
    closed_form = closed_form_flops(model, cuts.tokens)
    mode = FakeTensorMode()
    make_fake(model, mode)
    memory, work = count_passes(model, mode, tokens, seed)
    hollow = model_on_meta(spec, tunable, seed)
    make_hollow(hollow)
    traced = fvcore_flops(hollow, tokens, seed)
    witnesses = [
        FlopWitnesses(flop_counter=counted.forward_flops, fvcore=second, closed_form=third)
        for counted, second, third in zip(flops, traced, closed_form, strict=True)
    ]
    return _Counts(flops, witnesses, memory, work, cuts, kv)


def _unit(model: FoundationModel, unit: int, counts: _Counts, optimizer: Optimizer) -> UnitPart:
    named = {n: p for n, p in model.bare.named_parameters() if unit in model.units_of(n)}
    held = list(named.values())
    tuned = [parameter for parameter in held if parameter.requires_grad]
    reducing = [p for name, p in named.items() if p.requires_grad and ".lora_A." in name]
    flops, memory = counts.flops[unit], counts.memory[unit]
    cache = counts.kv[unit] if counts.kv else KVCache()
    return UnitPart(
        name=model.unit_names[unit],
        kind=_kind(model, unit),
        parameters=sum(parameter.numel() for parameter in held),
        tunable_parameters=sum(parameter.numel() for parameter in tuned),
        forward_flops=flops.forward_flops,
        attention_flops=flops.attention_flops,
        backward_flops=flops.backward_flops,
        witnesses=counts.witnesses[unit],
        uncounted=tuple(f"{name} ({n} calls)" for name, n in sorted(flops.uncounted.items())),
        weight_bytes=_bytes(held),
        gradient_bytes=_bytes(tuned),
        optimizer_bytes=optimizer_bytes(tuned, optimizer),
        lora_a_bytes=_bytes(reducing),
        saved_activation_bytes=memory.saved_bytes,
        working_bytes=memory.working_bytes,
        output_bytes=counts.cuts.output_bytes[unit],
        gradient_output_bytes=counts.cuts.gradient_output_bytes[unit],
        kv_bytes_per_token=cache.token_bytes,
        kv_window_tokens=cache.window_tokens,
        operators=memory.operators,
        forward_work=counts.work[unit].forward,
        backward_work=counts.work[unit].backward,
        tunable_tensors=len(tuned),
    )


def _kind(model: FoundationModel, unit: int) -> Literal["prologue", "block", "epilogue"]:
    if unit == 0:
        return "prologue"
    return "block" if unit < model.n_units - 1 else "epilogue"


def _bytes(parameters: list[nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _distance(witnesses: FlopWitnesses) -> float:
    """Relative distance between the highest and the lowest witness of one unit."""
    known = [
        count
        for count in (witnesses.flop_counter, witnesses.fvcore, witnesses.closed_form)
        if count is not None
    ]
    return (max(known) - min(known)) / max(known) if any(known) else 0.0


def _warnings(model: FoundationModel, units: tuple[UnitPart, ...], counts: _Counts) -> list[str]:
    found = []
    for unit in units:
        if _distance(unit.witnesses) > _TOLERATED_DISAGREEMENT:
            found.append(f"{unit.name}: the FLOP counters disagree ({_told(unit.witnesses)})")
        if unit.uncounted:
            found.append(f"{unit.name}: not counted: {', '.join(unit.uncounted)}")
    if not known_family(model):
        found.append(f"no closed form of FLOPs is known for {model.config.model_type}")
    if units[1].witnesses.fvcore is None:
        found.append("fvcore could not trace this model")
    if counts.kv is None:
        found.append(
            "the key-value cache of this model has no layer a block; its bytes are not known"
        )
    return found


def _told(witnesses: FlopWitnesses) -> str:
    pairs = witnesses.model_dump(exclude_none=True).items()
    return ", ".join(f"{name} {count}" for name, count in pairs)
