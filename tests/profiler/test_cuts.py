"""Bytes over cuts against the tensors that really cross them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from torch import Tensor

from gaisnet.models import (
    FoundationModel,
    cut,
    load_model,
    make_stage,
    needs_gradient,
    side_inputs,
)
from gaisnet.models.session import KVSession
from gaisnet.profiler import profile_model
from gaisnet.profiler.cuts import KVCache, hidden_before, kv_caches, measure_cuts
from gaisnet.schema.model import FullSpec, ModelSpec
from gaisnet.schema.profile import UnitPart

from .small import FAMILIES, on_meta, real, write


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("tunable", ["full", "lora", "deep_prompt", "head"])
@pytest.mark.parametrize("family", ["vit", "bert", "llama"])
def test_what_crosses_each_cut_both_ways_has_the_profiled_size(
    family: str, tunable: str, folder: Path
) -> None:
    cuts = measure_cuts(on_meta(family, folder, tunable), None, 0)
    model = real(family, folder, tunable)
    batch = model.example_inputs(3)
    stages = cut(model, [(unit, unit) for unit in range(model.n_units)])
    side = side_inputs(model, batch)
    hidden = None
    for unit, stage in enumerate(stages):
        output = stage(batch if unit == 0 else side, hidden)
        assert 3 * cuts.output_bytes[unit] == _bytes(output)
        hidden = output.detach().requires_grad_(needs_gradient(model, unit))
        last = unit == model.n_units - 1
        expected = _bytes(hidden) if hidden.requires_grad and not last else 0
        assert 3 * cuts.gradient_output_bytes[unit] == expected
    assert 3 * cuts.side_input_bytes == sum(_bytes(tensor) for tensor in side.values())
    assert 3 * cuts.label_bytes == _bytes(batch["labels"])


def test_gradients_cross_only_cuts_above_something_tuned(folder: Path) -> None:
    full = measure_cuts(on_meta("vit", folder, "full"), None, 0)
    lora = measure_cuts(on_meta("vit", folder, "lora"), None, 0)
    head = measure_cuts(on_meta("vit", folder, "head"), None, 0)
    width_bytes = 17 * 24 * 4
    assert full.gradient_output_bytes == (*[width_bytes] * 4, 0)
    assert lora.gradient_output_bytes == (0, *[width_bytes] * 3, 0)
    assert head.gradient_output_bytes == (0,) * 5


def test_raw_inputs_are_pixels_or_token_ids(folder: Path) -> None:
    assert measure_cuts(on_meta("vit", folder), None, 0).input_bytes == 3 * 16 * 16 * 4
    text = measure_cuts(on_meta("gpt2", folder), 20, 0)
    assert (text.input_bytes, text.side_input_bytes, text.tokens) == (20 * 8, 20, 20)


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("tunable", ["lora", "deep_prompt"])
def test_a_token_adds_the_profiled_bytes_to_a_real_cache(
    family: str, tunable: str, folder: Path
) -> None:
    geometry = FAMILIES[family].geometry
    caches = kv_caches(on_meta(family, folder, tunable))
    assert caches is not None
    assert {cache.window_tokens for cache in caches} == {None}
    per_token = [cache.token_bytes for cache in caches]
    assert per_token == [0, *[2 * geometry.kv_heads * geometry.head_dim * 4] * 3, 0]
    model = real(family, folder, tunable)
    first, second = cut(model, [(0, 2), (3, 4)])
    batch = model.example_inputs(2, 7)
    sessions = first.new_session(), second.new_session()
    hidden = first(batch, session=sessions[0])
    second(side_inputs(model, batch), hidden, session=sessions[1])
    assert sessions[0].bytes == 2 * 7 * sum(per_token[0:3])
    assert sessions[1].bytes == 2 * 7 * sum(per_token[3:5])


@pytest.mark.parametrize("window", [2, 4, 5, 32])
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_a_sliding_window_bounds_a_real_cache_where_the_profile_says(
    family: str, window: int, folder: Path
) -> None:
    config, architecture = _SLIDING[family]
    source = write(config(window), architecture, folder, f"{family}-{window}")
    spec = ModelSpec(source=source)
    units = profile_model(spec, FullSpec(), times=False).units
    model = load_model(spec)
    for tokens in (1, 3, 9):
        for first, last in ((0, 4), (1, 1), (2, 3)):
            session = make_stage(model, first, last).new_session()
            _fill(model, first, last, session, tokens)
            expected = sum(
                unit.kv_bytes_per_token * min(tokens, _window(unit))
                for unit in units[first : last + 1]
            )
            assert session.bytes == 2 * expected
    assert {_window(unit) for unit in units[1:4]} >= {window - 1}


_SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "vocab_size": 61,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_SLIDING: dict[str, tuple[Callable[[int], Any], str]] = {
    "mistral": (
        lambda window: transformers.MistralConfig(**_SIZES, sliding_window=window),
        "MistralForCausalLM",
    ),
    "gemma2": (
        lambda window: transformers.Gemma2Config(**_SIZES, head_dim=8, sliding_window=window),
        "Gemma2ForCausalLM",
    ),
    "gemma3": (
        lambda window: transformers.Gemma3TextConfig(
            **_SIZES, head_dim=8, sliding_window=window, layer_types=_LAYERS
        ),
        "Gemma3ForCausalLM",
    ),
}
_LAYERS = ["sliding_attention", "full_attention", "sliding_attention"]


def _window(unit: UnitPart) -> int:
    return 10**9 if unit.kv_window_tokens is None else unit.kv_window_tokens


def _fill(model: FoundationModel, first: int, last: int, session: KVSession, tokens: int) -> None:
    """The session of a stage after a prompt of so many tokens."""
    batch = model.example_inputs(2, tokens)
    hidden = hidden_before(model, first, batch)
    stage = make_stage(model, first, last)
    stage(batch if first == 0 else side_inputs(model, batch), hidden, session=session)


@pytest.mark.parametrize("family", ["vit", "bert"])
def test_models_that_do_not_generate_have_no_cache(family: str, folder: Path) -> None:
    assert kv_caches(on_meta(family, folder)) == [KVCache()] * 5


def test_the_state_before_a_unit_is_what_the_stage_below_returns(folder: Path) -> None:
    model = real("bert", folder, "lora")
    batch = model.example_inputs(2)
    below = cut(model, [(0, 1), (2, 4)])[0]
    hidden = hidden_before(model, 2, batch)
    assert hidden is not None
    assert bool((hidden == below(batch)).all())
    assert not hidden.requires_grad
    assert hidden_before(model, 0, batch) is None
