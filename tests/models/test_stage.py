"""What a stage holds, what it shares, and what it needs to be given."""

from __future__ import annotations

import pytest
import torch

from gaisnet.errors import ModelError
from gaisnet.models import (
    cut,
    make_stage,
    needs_gradient,
    run_stages,
    side_inputs,
    split_gradients,
    tied_groups,
    tunable_parameters,
    tunable_state,
)
from gaisnet.schema.model import DeepPromptSpec, FullSpec, HeadSpec, LoraSpec
from tests.models.tiny import NAMED, tiny_model


@pytest.mark.parametrize("name", NAMED)
def test_stages_divide_the_parameters_and_hold_nothing_else(name: str) -> None:
    model = tiny_model(name, LoraSpec(r=2))
    stages = cut(model, [(0, 1), (2, 2), (3, model.n_units - 1)])
    tied = tied_groups(model)
    for stage in stages:
        real = {id(p) for p in stage.shell.parameters() if not p.is_meta}
        assert real == {id(p) for p in stage.owned_parameters().values()}
        for parameter_name in stage.owned_parameters():
            units = model.units_of(parameter_name)
            assert any(stage.first_unit <= unit <= stage.last_unit for unit in units)
    held = [n for stage in stages for n in stage.owned_parameters()]
    assert sorted(n for n in held if n not in tied) == sorted(
        n for n, _ in model.bare.named_parameters() if n not in tied
    )


def test_frozen_tensors_are_shared_and_tunable_ones_are_private() -> None:
    model = tiny_model("vit", LoraSpec(r=2))
    whole = dict(model.bare.named_parameters())
    first, second = make_stage(model, 2, 4), make_stage(model, 2, 4)
    for name, parameter in first.owned_parameters().items():
        assert (parameter.data_ptr() == whole[name].data_ptr()) == (not whole[name].requires_grad)
    with torch.no_grad():
        for parameter in first.parameters_tuned().values():
            parameter.add_(1)
    for name, parameter in second.parameters_tuned().items():
        assert torch.equal(parameter, whole[name])


def test_without_private_tunables_a_stage_trains_the_model_itself() -> None:
    model = tiny_model("vit", LoraSpec(r=2))
    stage = make_stage(model, 2, 4, private_tunables=False)
    whole = tunable_parameters(model.module)
    assert all(parameter is whole[name] for name, parameter in stage.parameters_tuned().items())


def test_a_stage_of_a_model_on_meta_allocates_nothing() -> None:
    model = tiny_model("gpt2", LoraSpec(r=2), device="meta")
    stage = make_stage(model, 1, 2)
    assert all(p.is_meta for p in stage.parameters())
    hidden = stage({}, torch.empty(2, 5, 32, device="meta"))
    assert hidden.shape == (2, 5, 32)
    assert hidden.is_meta


@pytest.mark.parametrize("name", ["gpt2-classifier", "bert", "llama", "vit", "wav2vec2"])
def test_later_stages_need_neither_raw_input_nor_labels(name: str) -> None:
    model = tiny_model(name)
    inputs = model.example_inputs(3, 7)
    if "attention_mask" in inputs:
        inputs["attention_mask"][1, 4:] = 0
        inputs["input_ids"][1, 4:] = 0
    side = side_inputs(model, inputs)
    raw = {"input_ids", "pixel_values", "input_values", "labels", "token_type_ids"}
    assert not raw & side.keys()
    assert all(tensor.dtype == torch.uint8 for tensor in side.values())
    first, second = cut(model, [(0, 2), (3, model.n_units - 1)])
    whole = model.bare(**inputs)
    assert torch.equal(second(side, first(inputs)), whole[model.anatomy.output_key])


def test_images_need_no_side_inputs_and_language_models_one_byte_a_token() -> None:
    vit, llama = tiny_model("vit"), tiny_model("llama")
    assert side_inputs(vit, vit.example_inputs(2)) == {}
    side = side_inputs(llama, llama.example_inputs(2, 9))
    assert {name: (t.nbytes, tuple(t.shape)) for name, t in side.items()} == {
        "attention_mask": (18, (2, 9))
    }


def test_given_positions_reach_every_stage() -> None:
    model = tiny_model("llama")
    inputs = model.example_inputs(2, 6)
    inputs["position_ids"] = torch.arange(6).expand(2, -1) * 3 + 2
    side = side_inputs(model, inputs)
    stages = cut(model, [(0, 1), (2, 3), (4, 4)])
    split = stages[2](side, stages[1](side, stages[0](inputs)))
    assert torch.equal(split, model.bare(**inputs).logits)
    plain = model.bare(input_ids=inputs["input_ids"]).logits
    assert not torch.equal(split, plain)


@pytest.mark.parametrize(
    "segments",
    [[(0, 1)], [(0, 1), (3, 4)], [(0, 2), (2, 4)], [(1, 4)], [(2, 4), (0, 1)], [(0, 5)], []],
)
def test_segments_that_do_not_cover_the_units_once_are_refused(
    segments: list[tuple[int, int]],
) -> None:
    with pytest.raises(ModelError, match="do not cover"):
        cut(tiny_model("gpt2"), segments)


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (3, 2), (0, 5), (5, 5)])
def test_units_that_do_not_exist_are_refused(first: int, last: int) -> None:
    with pytest.raises(ModelError, match="GPT2LMHeadModel has 5 units"):
        make_stage(tiny_model("gpt2"), first, last)


@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_the_gradient_of_a_tied_embedding_is_the_sum_over_its_stages(name: str) -> None:
    config = {"gpt2": "transformer.wte.weight", "qwen3": "model.embed_tokens.weight"}
    model = tiny_model(name, FullSpec())
    tied = tied_groups(model)
    if name == "qwen3":
        assert tied == {}
        return
    assert tied == {config[name]: (0, model.n_units - 1)}
    inputs = model.example_inputs(2, 6)
    stages = cut(model, [(0, 1), (2, model.n_units - 1)])
    hidden = stages[0](inputs)
    leaf = hidden.detach().requires_grad_()
    model.loss(stages[1](side_inputs(model, inputs), leaf), inputs["labels"]).backward()
    hidden.backward(leaf.grad)
    parts = [stage.parameters_tuned()[config[name]].grad for stage in stages]
    model.bare(**inputs).loss.backward()
    whole = model.bare.get_parameter(config[name]).grad
    assert parts[0] is not None
    assert parts[1] is not None
    assert not torch.equal(parts[1], whole)
    assert torch.equal(parts[1] + parts[0], whole)


def test_parameters_that_every_block_reads_are_held_by_every_stage() -> None:
    model = tiny_model("mpnet", FullSpec())
    name = "mpnet.encoder.relative_attention_bias.weight"
    assert tied_groups(model)[name] == tuple(range(model.n_units))
    stages = cut(model, [(0, 1), (2, 3), (4, 4)])
    assert all(name in stage.parameters_tuned() for stage in stages)
    inputs = model.example_inputs(2, 6)
    _, gradients = split_gradients(model, stages, inputs)
    model.bare(**inputs).loss.backward()
    torch.testing.assert_close(gradients[name], model.bare.get_parameter(name).grad)


@pytest.mark.parametrize(
    ("tunable", "expected"),
    [
        (LoraSpec(r=2), [False, True, True, True]),
        (DeepPromptSpec(tokens=2), [False, True, True, True]),
        (HeadSpec(), [False, False, False, False]),
        (FullSpec(), [True, True, True, True]),
    ],
)
def test_a_gradient_crosses_a_cut_only_if_something_below_is_trained(
    tunable: LoraSpec | DeepPromptSpec | HeadSpec | FullSpec, expected: list[bool]
) -> None:
    model = tiny_model("vit", tunable)
    assert [needs_gradient(model, unit) for unit in range(4)] == expected
    for unit, wanted in enumerate(expected):
        stage = make_stage(model, 0, unit)
        assert stage(model.example_inputs(1)).requires_grad == wanted


def test_a_stage_takes_its_own_part_of_a_whole_state() -> None:
    model = tiny_model("bert", LoraSpec(r=2))
    state = {name: torch.randn(t.shape) for name, t in tunable_state(model.module).items()}
    stage = make_stage(model, 2, 4)
    stage.load_tunable_state(state)
    own = stage.tunable_state()
    assert 0 < len(own) < len(state)
    assert all(torch.equal(own[name], state[name]) for name in own)
    del state[next(iter(own))]
    with pytest.raises(ModelError, match="lacks"):
        stage.load_tunable_state(state)


def test_a_state_of_another_shape_changes_nothing() -> None:
    stage = make_stage(tiny_model("bert", LoraSpec(r=2)), 2, 4)
    before = stage.tunable_state()
    wrong = {name: torch.ones_like(tensor) for name, tensor in before.items()}
    wrong[list(before)[-1]] = torch.ones(1)
    with pytest.raises(ModelError, match="has shape"):
        stage.load_tunable_state(wrong)
    assert all(torch.equal(before[name], now) for name, now in stage.tunable_state().items())


def test_units_and_their_names() -> None:
    model = tiny_model("gpt2", LoraSpec(r=2))
    assert model.unit_names == (
        "embeddings",
        "transformer.h.0",
        "transformer.h.1",
        "transformer.h.2",
        "norm+head",
    )
    assert model.unit_of("transformer.wpe.weight") == 0
    assert model.unit_of("lm_head.weight") == 0
    assert model.units_of("lm_head.weight") == (0, 4)
    assert model.unit_of("transformer.ln_f.bias") == 4
    name = "transformer.h.1.attn.c_attn.lora_A.default.weight"
    assert model.unit_of(name) == model.unit_of(f"base_model.model.{name}") == 2
    with pytest.raises(KeyError):
        model.unit_of("nothing.weight")


def test_a_session_holds_keys_and_values_of_its_own_blocks_only() -> None:
    model = tiny_model("llama")
    stages = cut(model, [(0, 0), (1, 2), (3, 4)])
    sessions = [stage.new_session() for stage in stages]
    with torch.no_grad():
        run_stages(stages, {"input_ids": torch.full((2, 5), 7)}, sessions)
        run_stages(stages, {"input_ids": torch.full((2, 1), 7)}, sessions)
    heads, width, floats, batch = 2, 8, 4, 2
    block = 2 * batch * heads * 6 * width * floats
    assert [session.bytes for session in sessions] == [0, 2 * block, block]
    assert [session.length for session in sessions] == [6, 6, 6]


def test_a_model_without_a_cache_refuses_a_session_by_name() -> None:
    stage = make_stage(tiny_model("openai-gpt"), 0, 1)
    with pytest.raises(ModelError, match="OpenAIGPTLMHeadModel cannot generate"):
        stage.new_session()


def test_a_stage_can_be_used_again_after_an_error() -> None:
    model = tiny_model("gpt2")
    stage = make_stage(model, 2, 4)
    hidden = torch.randn(2, 3, 32)
    wanted = stage({}, hidden)
    with pytest.raises(RuntimeError):
        stage({}, torch.randn(2, 3, 31))
    assert torch.equal(stage({}, hidden), wanted)
