"""Bytes over cuts against the tensors that really cross them."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from gaisnet.models import cut, needs_gradient, side_inputs
from gaisnet.profiler.cuts import hidden_before, kv_bytes_per_token, measure_cuts

from .small import FAMILIES, on_meta, real


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
    per_token = kv_bytes_per_token(on_meta(family, folder, tunable))
    assert per_token == [0, *[2 * geometry.kv_heads * geometry.head_dim * 4] * 3, 0]
    model = real(family, folder, tunable)
    first, second = cut(model, [(0, 2), (3, 4)])
    batch = model.example_inputs(2, 7)
    sessions = first.new_session(), second.new_session()
    hidden = first(batch, session=sessions[0])
    second(side_inputs(model, batch), hidden, session=sessions[1])
    assert sessions[0].bytes == 2 * 7 * sum(per_token[0:3])
    assert sessions[1].bytes == 2 * 7 * sum(per_token[3:5])


@pytest.mark.parametrize("family", ["vit", "bert"])
def test_models_that_do_not_generate_have_no_cache(family: str, folder: Path) -> None:
    assert kv_bytes_per_token(on_meta(family, folder)) == [0] * 5


def test_the_state_before_a_unit_is_what_the_stage_below_returns(folder: Path) -> None:
    model = real("bert", folder, "lora")
    batch = model.example_inputs(2)
    below = cut(model, [(0, 1), (2, 4)])[0]
    hidden = hidden_before(model, 2, batch)
    assert hidden is not None
    assert bool((hidden == below(batch)).all())
    assert not hidden.requires_grad
    assert hidden_before(model, 0, batch) is None
