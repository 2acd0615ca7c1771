"""The invariants of split learning that concern the model alone, over random cuts."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gaisnet.models import (
    FoundationModel,
    Stage,
    check_split,
    cut,
    frozen_hashes,
    greedy_generate,
    load_tunable_state,
    run_stages,
    split_gradients,
    tunable_parameters,
    tunable_state,
)
from gaisnet.schema.model import (
    AdapterSpec,
    BitFitSpec,
    DeepPromptSpec,
    FullSpec,
    HeadSpec,
    LoraSpec,
    TunableSpec,
)
from tests.models.tiny import NAMED, tiny_model

KINDS: dict[str, TunableSpec] = {
    "lora": LoraSpec(r=2),
    "adapter": AdapterSpec(bottleneck=4),
    "deep_prompt": DeepPromptSpec(tokens=2),
    "bitfit": BitFitSpec(),
    "head": HeadSpec(),
    "full": FullSpec(),
}
IMPOSSIBLE = {("llama", "bitfit"), ("qwen3", "bitfit"), ("gpt2", "head")}
"""No biases; a head that is the embedding."""
PAIRS = [(name, kind) for name in NAMED for kind in KINDS if (name, kind) not in IMPOSSIBLE]
CAUSAL = ["gpt2", "llama", "qwen2", "qwen3"]
OPTIMIZERS: dict[str, Any] = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}


@functools.cache
def _tuned(name: str, kind: str) -> FoundationModel:
    """One model a pair; its tunable modules are no longer the identity."""
    model = tiny_model(name, KINDS[kind])
    generator = torch.Generator().manual_seed(7)
    state = tunable_state(model.module)
    for tensor in state.values():
        tensor += 0.1 * torch.randn(tensor.shape, generator=generator)
    load_tunable_state(model.module, state)
    return model


@st.composite
def segments(draw: st.DrawFn, n_units: int, most_cuts: int = 4) -> list[tuple[int, int]]:
    ends = draw(st.sets(st.integers(0, n_units - 2), min_size=1, max_size=most_cuts))
    bounds = [-1, *sorted(ends), n_units - 1]
    return [(a + 1, b) for a, b in itertools.pairwise(bounds)]


def _batch(model: FoundationModel, size: int, tokens: int, seed: int) -> dict[str, Tensor]:
    inputs = model.example_inputs(size, tokens, seed)
    if "attention_mask" in inputs:
        for row in range(size):
            inputs["attention_mask"][row, : row % tokens] = 0
    return inputs


def _whole_gradients(model: FoundationModel, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outputs = model.module(**inputs)
    parameters = tunable_parameters(model.module)
    found = torch.autograd.grad(outputs.loss, list(parameters.values()), allow_unused=True)
    return {n: g for n, g in zip(parameters, found, strict=True) if g is not None}


def _step(optimizer: Any, parameters: Mapping[str, nn.Parameter], gradients: Any) -> None:
    for name, parameter in parameters.items():
        parameter.grad = gradients.get(name)
    optimizer.step()


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_cut_of_the_named_families_is_exact_for_every_kind(name: str, kind: str) -> None:
    result = check_split(_tuned(name, kind))
    assert [check for check in result.cuts if not check.ok] == []


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    pair=st.sampled_from(PAIRS),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
    size=st.integers(1, 4),
    tokens=st.integers(2, 12),
    seed=st.integers(0, 99),
)
def test_invariant_1_split_equals_monolithic(
    data: st.DataObject, pair: tuple[str, str], optimizer: str, size: int, tokens: int, seed: int
) -> None:
    model = _tuned(*pair)
    stages = cut(model, data.draw(segments(model.n_units)))
    start = tunable_state(model.module)
    make = functools.partial(OPTIMIZERS[optimizer], lr=0.1)
    whole = tunable_parameters(model.module)
    whole_optimizer = make(whole.values())
    stage_optimizers = [
        make(s.parameters_tuned().values()) if s.has_tunable else None for s in stages
    ]
    try:
        for step in range(2):
            inputs = _batch(model, size, tokens, seed + step)
            with torch.no_grad():
                assert torch.equal(run_stages(stages, inputs), model.module(**inputs).logits)
            _, gradients = split_gradients(model, stages, inputs)
            _step(whole_optimizer, whole, _whole_gradients(model, inputs))
            for stage, own in zip(stages, stage_optimizers, strict=True):
                if own is not None:
                    _step(own, stage.parameters_tuned(), gradients)
            _assert_same(stages, tunable_state(model.module))
    finally:
        load_tunable_state(model.module, start)


def _assert_same(stages: Sequence[Stage], whole: Mapping[str, Tensor]) -> None:
    held: set[str] = set()
    for stage in stages:
        for name, value in stage.tunable_state().items():
            assert torch.equal(value, whole[name]), name
            held.add(name)
    assert held == whole.keys()


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_invariant_9_frozen_tensors_never_change(name: str, kind: str) -> None:
    model = tiny_model(name, KINDS[kind])
    stages = cut(model, [(0, 1), (2, 3), (4, model.n_units - 1)])
    before = [frozen_hashes(stage) for stage in stages], frozen_hashes(model.module)
    inputs = _batch(model, 2, 6, 0)
    _, gradients = split_gradients(model, stages, inputs)
    for stage in stages:
        if stage.has_tunable:
            optimizer = torch.optim.AdamW(stage.parameters_tuned().values(), weight_decay=0.5)
            _step(optimizer, stage.parameters_tuned(), gradients)
    assert ([frozen_hashes(stage) for stage in stages], frozen_hashes(model.module)) == before


@settings(max_examples=8, deadline=None)
@given(data=st.data(), name=st.sampled_from(NAMED), seed=st.integers(0, 99))
def test_invariant_14_split_lora_equals_peft_lora(
    data: st.DataObject, name: str, seed: int
) -> None:
    model = tiny_model(name, LoraSpec(r=2, alpha=8))
    central = _peft_by_hand(name, tunable_state(model.module))
    stages = cut(model, data.draw(segments(model.n_units)))
    parameters = {n.removeprefix("base_model.model."): p for n, p in central.named_parameters()}
    tuned = {n: p for n, p in parameters.items() if p.requires_grad}
    optimizer = torch.optim.AdamW(tuned.values(), lr=0.05)
    own = [
        torch.optim.AdamW(s.parameters_tuned().values(), lr=0.05) for s in stages if s.has_tunable
    ]
    for step in range(3):
        inputs = _batch(model, 3, 7, seed + step)
        _, gradients = split_gradients(model, stages, inputs)
        for stage, mine in zip((s for s in stages if s.has_tunable), own, strict=True):
            _step(mine, stage.parameters_tuned(), gradients)
        optimizer.zero_grad()
        central(**inputs).loss.backward()
        optimizer.step()
    for stage in stages:
        for key, value in stage.tunable_state().items():
            torch.testing.assert_close(value, tuned[key].detach(), rtol=0, atol=1e-6)


def _peft_by_hand(name: str, state: Mapping[str, Tensor]) -> Any:
    """The same LoRA made by peft alone, without our code, from the same initial values."""
    plain = tiny_model(name)
    fused = name == "gpt2"
    targets = {"gpt2": ["c_attn"], "bert": ["query", "value"]}.get(name, ["q_proj", "v_proj"])
    config = peft.LoraConfig(
        r=2,
        lora_alpha=8,
        target_modules=targets,
        fan_in_fan_out=fused,
        modules_to_save=["classifier"] if name in ("bert", "vit") else None,
    )
    with pytest.warns(FutureWarning, match="gradient_checkpointing"):
        central = peft.get_peft_model(plain.module, config)
    values = {f"base_model.model.{key}": value for key, value in state.items()}
    assert not central.load_state_dict(values, strict=False).unexpected_keys
    return central.eval()


@settings(max_examples=20, deadline=None)
@given(
    data=st.data(),
    name=st.sampled_from(CAUSAL),
    kind=st.sampled_from(["lora", "adapter", "deep_prompt", "full"]),
    size=st.integers(1, 3),
    tokens=st.integers(1, 8),
    eos=st.integers(0, 63),
    seed=st.integers(0, 99),
)
def test_invariant_15_kv_split_decoding_equals_generate(
    data: st.DataObject, name: str, kind: str, size: int, tokens: int, eos: int, seed: int
) -> None:
    model = _tuned(name, kind)
    stages = cut(model, data.draw(segments(model.n_units)))
    inputs = model.example_inputs(size, tokens, seed)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    for row in range(size):
        mask[row, : data.draw(st.integers(0, tokens - 1))] = 0
    whole: Any = model.bare
    wanted = whole.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=6,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=0,
    )
    assert torch.equal(greedy_generate(stages, ids, mask, 6, eos, 0), wanted)


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("lost", [0, 1, 2])
def test_invariant_15_holds_after_a_stage_was_lost_and_its_history_replayed(
    name: str, lost: int
) -> None:
    model = _tuned(name, "lora")
    parts = [(0, 1), (2, 3), (4, 4)]
    stages = cut(model, parts)
    inputs = model.example_inputs(2, 5)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    mask[0, :2] = 0
    whole: Any = model.bare
    wanted = whole.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=8,
        do_sample=False,
        eos_token_id=64,
        pad_token_id=0,
    )
    sessions = [stage.new_session() for stage in stages]
    history: list[tuple[dict[str, Tensor], Tensor | None]] = []
    fed = {"input_ids": ids, "attention_mask": mask}
    sequence = ids
    with torch.no_grad():
        for step in range(8):
            if step == 4:
                stages[lost] = cut(model, parts)[lost]
                sessions[lost] = stages[lost].new_session()
                for old, hidden in history:
                    stages[lost](old, hidden, session=sessions[lost])
            hidden = None
            for index, stage in enumerate(stages):
                if index == lost:
                    history.append((fed, hidden))
                hidden = stage(fed, hidden, session=sessions[index])
            assert hidden is not None
            new = hidden[:, -1:].argmax(-1)
            sequence = torch.cat([sequence, new], dim=-1)
            fed = {"input_ids": new}
    assert torch.equal(sequence, wanted)
