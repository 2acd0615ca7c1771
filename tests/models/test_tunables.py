"""Each kind of tunable modules: what it adds, where it starts, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gaisnet.errors import ModelError
from gaisnet.models import (
    FoundationModel,
    attach,
    check_split,
    load_tunable_state,
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

KINDS: list[TunableSpec] = [
    LoraSpec(r=2),
    AdapterSpec(bottleneck=4),
    DeepPromptSpec(tokens=3),
    BitFitSpec(),
    HeadSpec(),
    FullSpec(),
]


def _logits(model: FoundationModel, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model.module(**inputs).logits
    return logits


def _shake(model: FoundationModel, seed: int = 3) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = tunable_state(model.module)
    for tensor in state.values():
        tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
    load_tunable_state(model.module, state)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("kind", [LoraSpec(r=2), AdapterSpec(bottleneck=4)], ids=lambda k: k.kind)
def test_a_fresh_lora_or_adapter_changes_nothing(name: str, kind: TunableSpec) -> None:
    plain, tuned = tiny_model(name), tiny_model(name, kind)
    inputs = plain.example_inputs(2, 6)
    before = _logits(plain, inputs)
    assert torch.equal(_logits(tuned, inputs), before)
    _shake(tuned)
    assert not torch.equal(_logits(tuned, inputs), before)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_new_modules_depend_on_the_seed_alone_and_leave_torchs_generator(kind: TunableSpec) -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    one = tunable_state(attach(tiny_model("bert"), kind, seed=5).module)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(12)
    two = tunable_state(attach(tiny_model("bert"), kind, seed=5).module)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_another_seed_gives_other_prompts() -> None:
    one = tunable_state(attach(tiny_model("vit"), DeepPromptSpec(), seed=0).module)
    two = tunable_state(attach(tiny_model("vit"), DeepPromptSpec(), seed=1).module)
    assert not torch.equal(
        one["vit.layers.0.deep_prompt.prompt"], two["vit.layers.0.deep_prompt.prompt"]
    )


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("gpt2", {"c_attn"}),
        ("llama", {"q_proj", "v_proj"}),
        ("bert", {"query", "value"}),
        ("vit", {"q_proj", "v_proj"}),
        ("distilbert", {"q_lin", "v_lin"}),
        ("gpt_neox", {"query_key_value"}),
    ],
)
def test_lora_adapts_queries_and_values_by_default(name: str, targets: set[str]) -> None:
    model = tiny_model(name, LoraSpec(r=2, train_head=False))
    owners = {key.split(".lora_")[0].split(".")[-1] for key in tunable_parameters(model.module)}
    assert owners == targets


def test_lora_takes_named_targets_and_refuses_absent_ones() -> None:
    model = tiny_model("vit", LoraSpec(r=2, targets=("fc1",), train_head=False))
    assert len(tunable_parameters(model.module)) == 2 * 3
    with pytest.raises(ModelError, match="ViTForImageClassification") as caught:
        tiny_model("vit", LoraSpec(targets=("nowhere",)))
    assert "targets" in str(caught.value.hint)


@pytest.mark.parametrize("kind", KINDS[:4], ids=lambda k: k.kind)
def test_a_classification_head_is_tuned_along_only_if_asked(kind: TunableSpec) -> None:
    def heads(spec: TunableSpec) -> int:
        names = tunable_parameters(tiny_model("bert", spec).module)
        return sum("classifier" in name and name.endswith("weight") for name in names)

    assert heads(kind) == 1
    assert heads(kind.model_copy(update={"train_head": False})) == 0


@pytest.mark.parametrize("kind", [LoraSpec(r=2), AdapterSpec()], ids=lambda k: k.kind)
def test_a_language_models_head_stays_frozen(kind: TunableSpec) -> None:
    names = tunable_parameters(tiny_model("llama", kind).module)
    assert names
    assert not any("lm_head" in name for name in names)


def test_bitfit_tunes_all_biases_and_only_them() -> None:
    model = tiny_model("vit", BitFitSpec(train_head=False))
    expected = {name for name, _ in model.bare.named_parameters() if name.endswith("bias")}
    assert tunable_parameters(model.module).keys() == expected


def test_full_tunes_everything() -> None:
    model = tiny_model("vit", FullSpec())
    assert tunable_parameters(model.module).keys() == {n for n, _ in model.bare.named_parameters()}


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("llama", BitFitSpec(), "has no biases"),
        ("gpt2", HeadSpec(), "tied to the embeddings"),
        ("vit-features", HeadSpec(), "has no head"),
        ("bloom", DeepPromptSpec(), "alibi"),
        ("beit", DeepPromptSpec(), "its blocks fail with them"),
        ("resnet", LoraSpec(), "no linear maps"),
    ],
)
def test_what_a_model_cannot_have_is_refused_by_name(
    name: str, kind: TunableSpec, reason: str
) -> None:
    plain = tiny_model(name)
    with pytest.raises(ModelError, match=reason) as caught:
        attach(plain, kind, seed=0)
    assert plain.architecture in caught.value.message


def test_a_second_set_of_modules_is_refused() -> None:
    with pytest.raises(ModelError, match="already"):
        attach(tiny_model("vit", LoraSpec()), LoraSpec(), seed=0)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.kind)
def test_modules_can_be_attached_on_meta(kind: TunableSpec) -> None:
    model = tiny_model("bert", kind, device="meta")
    real = tiny_model("bert", kind)
    shapes = {name: p.shape for name, p in tunable_parameters(model.module).items()}
    assert all(p.is_meta for p in model.module.parameters())
    assert shapes == {name: p.shape for name, p in tunable_parameters(real.module).items()}


def _prompted_block_by_hand(block: Any, prompt: Tensor, hidden: Tensor) -> Tensor:
    """VPT's equation: the block over [prompt; hidden], without the prompt's outputs."""
    both = torch.cat([prompt.expand(hidden.shape[0], -1, -1), hidden], dim=1)
    output: Tensor = type(block).forward(block, both)
    return output[:, prompt.shape[0] :]


def test_deep_prompts_are_the_papers_equation() -> None:
    model = tiny_model("vit", DeepPromptSpec(tokens=3))
    inputs = model.example_inputs(2)
    bare: Any = model.bare
    with torch.no_grad():
        hidden = bare.vit.embeddings(inputs["pixel_values"])
        for block in bare.vit.layers:
            hidden = _prompted_block_by_hand(block, block.deep_prompt.prompt, hidden)
        wanted = bare.classifier(bare.vit.layernorm(hidden)[:, 0])
    torch.testing.assert_close(_logits(model, inputs), wanted)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bert", "gemma3_text", "phi", "modernbert"])
def test_deep_prompts_do_not_see_padding(name: str) -> None:
    model = tiny_model(name, DeepPromptSpec(tokens=3))
    inputs = model.example_inputs(1, 5)
    inputs.pop("labels")
    alone = _logits(model, inputs | {"position_ids": torch.arange(5)[None]})
    padded = {
        "input_ids": torch.cat([torch.full((1, 4), 9), inputs["input_ids"]], dim=1),
        "attention_mask": torch.tensor([[0] * 4 + [1] * 5]),
        "position_ids": torch.tensor([[0] * 4 + [0, 1, 2, 3, 4]]),
    }
    wanted = _logits(model, padded)
    if wanted.dim() == 3:
        wanted = wanted[:, 4:]
    elif name in ("bert", "modernbert"):
        padded = {key: value.roll(5, 1) for key, value in padded.items()}
        wanted = _logits(model, padded)
    torch.testing.assert_close(alone, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3_text", "mistral", "gptj", "qwen3_moe"])
def test_deep_prompts_decode_from_the_cache_as_without_it(name: str) -> None:
    """Step by step with cached keys against one pass over the whole sequence."""
    model = tiny_model(name, DeepPromptSpec(tokens=3))
    bare: Any = model.bare
    ids = model.example_inputs(2, 9)["input_ids"]
    wanted = _logits(model, {"input_ids": ids})
    cache, found = None, []
    with torch.no_grad():
        for piece in (ids[:, :4], *ids[:, 4:].split(1, dim=1)):
            outputs = bare(input_ids=piece, past_key_values=cache, use_cache=True)
            cache = outputs.past_key_values
            found.append(outputs.logits)
    torch.testing.assert_close(torch.cat(found, dim=1), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["gpt_neo", "falcon", "opt", "mixtral", "gemma2", "deit", "dinov2", "roberta"]
)
@pytest.mark.parametrize("kind", KINDS[1:3], ids=lambda k: k.kind)
def test_adapters_and_prompts_split_exactly_beyond_the_named_families(
    name: str, kind: TunableSpec
) -> None:
    assert check_split(tiny_model(name, kind)).ok
