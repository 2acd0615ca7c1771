"""FLOPs of units by three witnesses against closed forms written down here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from gaisnet.errors import ModelError
from gaisnet.models import FoundationModel, find_anatomy
from gaisnet.profiler.closed_form import closed_form_flops, known_family
from gaisnet.profiler.flop_counter import count_flops, looks_like_a_product
from gaisnet.profiler.fvcore_counter import fvcore_flops
from gaisnet.profiler.passage import forward_inputs
from gaisnet.profiler.standins import make_hollow, model_on_meta
from gaisnet.schema.model import FullSpec, LoraSpec, ModelSpec

from .small import FAMILIES, on_meta, real, write

_CLOSE = 0.005
_ATTENTION = ("sdpa", "eager")


@pytest.mark.parametrize("attention", _ATTENTION)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_witness_counts_a_block_as_the_textbook_does(
    family: str, attention: str, folder: Path
) -> None:
    geometry = FAMILIES[family].geometry
    expected = geometry.linear_flops() + geometry.attention_flops()
    model = on_meta(family, folder, "full", attention)
    counted = count_flops(model, None, 0)
    by_formula = closed_form_flops(model, geometry.tokens)
    make_hollow(model)
    traced = fvcore_flops(model, None, 0)
    for unit in range(1, 1 + geometry.blocks):
        assert counted[unit].forward_flops == pytest.approx(expected, rel=_CLOSE)
        assert traced[unit] == pytest.approx(expected, rel=_CLOSE)
        assert by_formula[unit] == pytest.approx(expected, rel=_CLOSE)
        assert counted[unit].attention_flops == geometry.attention_flops()


@pytest.mark.parametrize("attention", _ATTENTION)
@pytest.mark.parametrize("family", FAMILIES)
def test_full_fine_tuning_costs_three_forward_passes_in_every_block(
    family: str, attention: str, folder: Path
) -> None:
    counted = count_flops(on_meta(family, folder, "full", attention), None, 0)
    for unit in counted[1:-1]:
        assert unit.backward_flops == 2 * unit.forward_flops


@pytest.mark.parametrize("attention", _ATTENTION)
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"gpt2"}))
def test_lora_sends_gradients_through_frozen_maps_but_makes_none_for_them(
    family: str, attention: str, folder: Path
) -> None:
    geometry = FAMILIES[family].geometry
    lora = geometry.lora_flops(4)
    counted = count_flops(on_meta(family, folder, "lora", attention), None, 0)
    upper = counted[2]
    assert upper.forward_flops == geometry.linear_flops() + geometry.attention_flops() + lora
    through = geometry.linear_flops() + 2 * geometry.attention_flops() + 2 * lora
    assert upper.backward_flops == through


def test_nothing_flows_back_below_the_lowest_tuned_map(folder: Path) -> None:
    counted = count_flops(on_meta("vit", folder, "lora"), None, 0)
    geometry = FAMILIES["vit"].geometry
    assert counted[0].backward_flops == 0
    # In the first block the input needs no gradient, so the maps of queries, keys and values send
    # none down, nor do the two updates' first maps, and the keys need none of the scores.
    unneeded = 3 * 2 * geometry.tokens * geometry.width**2
    unneeded += 2 * 2 * geometry.tokens * 4 * geometry.width
    unneeded += geometry.attention_flops() // 2
    assert counted[1].backward_flops == counted[2].backward_flops - unneeded


def test_head_only_tuning_costs_no_block_anything_backward(folder: Path) -> None:
    counted = count_flops(on_meta("bert", folder, "head"), None, 0)
    assert [unit.backward_flops for unit in counted[:-1]] == [0, 0, 0, 0]
    assert counted[-1].backward_flops > 0


def test_bias_tuning_costs_half_of_full_fine_tuning_backward_in_the_linear_maps(
    folder: Path,
) -> None:
    geometry = FAMILIES["bert"].geometry
    counted = count_flops(on_meta("bert", folder, "bitfit"), None, 0)
    expected = geometry.linear_flops() + 2 * geometry.attention_flops()
    assert counted[2].backward_flops == expected


@pytest.mark.parametrize("attention", _ATTENTION)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_add_their_two_maps(family: str, attention: str, folder: Path) -> None:
    geometry = FAMILIES[family].geometry
    counted = count_flops(on_meta(family, folder, "adapter", attention), None, 0)
    adapter = 2 * geometry.tokens * 2 * geometry.width * 6
    base = geometry.linear_flops() + geometry.attention_flops()
    assert counted[2].forward_flops == base + adapter
    through = geometry.linear_flops() + 2 * geometry.attention_flops() + 2 * adapter
    assert counted[2].backward_flops == through


@pytest.mark.parametrize("attention", _ATTENTION)
@pytest.mark.parametrize("family", FAMILIES)
def test_deep_prompts_lengthen_every_block(family: str, attention: str, folder: Path) -> None:
    geometry = FAMILIES[family].geometry
    model = on_meta(family, folder, "deep_prompt", attention)
    counted = count_flops(model, None, 0)
    longer = geometry.linear_flops(3) + geometry.attention_flops(3)
    assert counted[1].forward_flops == longer
    assert closed_form_flops(model, geometry.tokens)[1] == longer
    through = geometry.linear_flops(3) + 2 * geometry.attention_flops(3)
    assert counted[2].backward_flops == through


@pytest.mark.parametrize("attention", _ATTENTION)
@pytest.mark.parametrize("tunable", ["full", "lora", "adapter", "deep_prompt", "head"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_witnesses_agree_on_every_unit(
    family: str, tunable: str, attention: str, folder: Path
) -> None:
    if (family, tunable) in _WITHOUT_A_HEAD_OF_ITS_OWN:
        with pytest.raises(ModelError, match="head"):
            on_meta(family, folder, tunable, attention)
        return
    geometry = FAMILIES[family].geometry
    model = on_meta(family, folder, tunable, attention)
    counted = [unit.forward_flops for unit in count_flops(model, None, 0)]
    by_formula = closed_form_flops(model, geometry.tokens)
    make_hollow(model)
    assert counted == by_formula == fvcore_flops(model, None, 0)


_WITHOUT_A_HEAD_OF_ITS_OWN = {("clip", "head"), ("gpt2", "head")}
"""CLIP's vision tower answers with hidden states, GPT-2's head is its table of embeddings."""

_REAL_SIZES = {
    "vit-base": (transformers.ViTConfig(), "ViTForImageClassification", 197, 768, 12),
    "gpt2-base": (transformers.GPT2Config(), "GPT2LMHeadModel", 128, 768, 12),
}


@pytest.mark.parametrize("name", _REAL_SIZES)
def test_models_of_real_size_are_counted_without_their_weights(name: str, folder: Path) -> None:
    config, architecture, tokens, width, blocks = _REAL_SIZES[name]
    spec = ModelSpec(source=write(config, architecture, folder, name))
    for tunable, low, high in ((FullSpec(), 2.9, 3.0), (LoraSpec(), 1.8, 2.2)):
        counted = count_flops(model_on_meta(spec, tunable, 0), 128, 0)
        forward = sum(unit.forward_flops for unit in counted)
        backward = sum(unit.backward_flops for unit in counted)
        assert low <= 1 + backward / forward <= high
        assert len(counted) == blocks + 2
        if tunable.kind == "full":
            assert {unit.forward_flops for unit in counted[1:-1]} == {_plain(tokens, width)}


def _plain(tokens: int, width: int) -> int:
    return 2 * tokens * 12 * width**2 + 4 * tokens**2 * width


def test_the_shipped_flop_counter_misses_attention_on_a_cpu_and_ours_does_not(
    folder: Path,
) -> None:
    model = real("vit", folder, "full")
    batch = model.example_inputs(1)
    with FlopCounterMode(display=False) as shipped, torch.no_grad():
        model.bare(**forward_inputs(model, batch))
    counted = count_flops(on_meta("vit", folder, "full"), None, 0)
    ours = sum(unit.forward_flops for unit in counted)
    geometry = FAMILIES["vit"].geometry
    missed = geometry.blocks * geometry.attention_flops()
    assert ours - shipped.get_total_flops() == missed


def test_a_product_without_a_formula_is_named(folder: Path) -> None:
    model = on_meta("vit", folder, "full")
    block = model.bare.get_submodule(f"{model.anatomy.block_path}.1")
    matrix, vector = torch.ones(5, 24, device="meta"), torch.ones(24, device="meta")

    def multiply(*_: object) -> None:
        torch.mv(matrix, vector)

    block.register_forward_hook(multiply)
    counted = count_flops(model, None, 0)
    assert dict(counted[2].uncounted) == {"aten.mv": 1}
    assert not counted[1].uncounted


@pytest.mark.parametrize(
    ("operator", "is_product"),
    [
        ("mm", True),
        ("_grouped_mm", True),
        ("_scaled_dot_product_flash_attention_for_cpu", True),
        ("convolution_backward", True),
        ("einsum", True),
        ("add", False),
        ("mean", False),
        ("embedding", False),
        ("_softmax", False),
        ("native_layer_norm", False),
        ("_transform_bias_rescale_qkv", False),
        ("commit", False),
    ],
)
def test_product_like_operators_are_known_by_name(operator: str, is_product: bool) -> None:
    assert looks_like_a_product(operator) is is_product


def test_a_sound_encoder_is_counted_with_its_convolutions() -> None:
    """Whisper's encoder: two convolutions over 2 s frames, of which s are left."""
    sizes = {"encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 40}
    config = transformers.WhisperConfig(d_model=24, max_source_positions=20, **sizes)
    config.is_encoder_decoder = False
    with torch.device("meta"):
        module = WhisperEncoder(config).requires_grad_(True).eval()
    inputs = {"input_features": torch.zeros(1, config.num_mel_bins, 40, device="meta")}
    model = FoundationModel(
        module=module,
        config=config,
        task="features",
        spec=ModelSpec(source="whisper"),
        anatomy=find_anatomy(module, inputs),
    )
    counted = [unit.forward_flops for unit in count_flops(model, None, 0)]
    block = 2 * 20 * (4 * 24**2 + 2 * 24 * 40) + 4 * 20**2 * 24
    prologue = 2 * 3 * 24 * (40 * config.num_mel_bins + 20 * 24)
    assert counted == [prologue, block, block, 0]
    assert closed_form_flops(model, 20) == counted
    make_hollow(model)
    assert fvcore_flops(model, None, 0) == counted


def test_an_unknown_family_has_no_closed_form(folder: Path) -> None:
    model = on_meta("vit", folder, "full")
    model.config.model_type = "something-new"
    assert not known_family(model)
    assert closed_form_flops(model, 17) == [None] * 5
