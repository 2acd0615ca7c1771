"""Saved tunable modules load again, in peft too, and give the same answers."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file

from gaisnet.errors import ModelError
from gaisnet.models import (
    FoundationModel,
    load_adapter,
    load_tunable_state,
    save_adapter,
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


def _trained(name: str, tunable: TunableSpec) -> FoundationModel:
    model = tiny_model(name, tunable)
    generator = torch.Generator().manual_seed(5)
    state = tunable_state(model.module)
    for tensor in state.values():
        tensor += 0.2 * torch.randn(tensor.shape, generator=generator)
    load_tunable_state(model.module, state)
    return model


def _answer(model: FoundationModel | peft.PeftModel, source: FoundationModel) -> torch.Tensor:
    module = model.module if isinstance(model, FoundationModel) else model
    with torch.no_grad():
        logits: torch.Tensor = module(**source.example_inputs(2, 6)).logits
    return logits


@pytest.mark.parametrize("name", NAMED)
def test_peft_loads_saved_lora_with_equal_logits(name: str, tmp_path: Path) -> None:
    model = _trained(name, LoraSpec(r=3, alpha=5))
    save_adapter(model, tmp_path / "adapter")
    plain = tiny_model(name)
    before = _answer(plain, plain)
    with pytest.warns(FutureWarning, match="gradient_checkpointing"):
        loaded = peft.PeftModel.from_pretrained(plain.module, str(tmp_path / "adapter"))
    assert torch.equal(_answer(loaded.eval(), model), _answer(model, model))
    assert not torch.equal(_answer(model, model), before)


@pytest.mark.parametrize("name", ["gpt2", "vit"])
def test_saved_lora_says_all_that_peft_needs(name: str, tmp_path: Path) -> None:
    model = _trained(name, LoraSpec(r=3, alpha=5))
    save_adapter(model, tmp_path)
    config = peft.PeftConfig.from_pretrained(str(tmp_path))
    assert (config.peft_type, config.r, config.lora_alpha) == ("LORA", 3, 5)
    assert config.target_modules == {"gpt2": {"c_attn"}, "vit": {"q_proj", "v_proj"}}[name]
    assert config.base_model_name_or_path == model.spec.source
    keys = load_file(tmp_path / "adapter_model.safetensors")
    assert keys
    assert all(key.startswith("base_model.model.") for key in keys)
    assert len(keys) == len(tunable_state(model.module))


@pytest.mark.parametrize(
    "tunable",
    [
        LoraSpec(r=3, alpha=5),
        AdapterSpec(bottleneck=3),
        DeepPromptSpec(tokens=2),
        BitFitSpec(),
        HeadSpec(),
        FullSpec(),
    ],
    ids=lambda tunable: tunable.kind,
)
def test_every_kind_comes_back_as_it_was(tunable: TunableSpec, tmp_path: Path) -> None:
    model = _trained("bert", tunable)
    save_adapter(model, tmp_path)
    loaded = load_adapter(tiny_model("bert"), tmp_path)
    assert loaded.tunable is not None
    assert loaded.tunable.kind == tunable.kind
    one, two = tunable_state(model.module), tunable_state(loaded.module)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert torch.equal(_answer(loaded, model), _answer(model, model))


@pytest.mark.parametrize("tunable", [LoraSpec(), AdapterSpec()], ids=lambda t: t.kind)
def test_modules_of_another_model_are_refused(tunable: TunableSpec, tmp_path: Path) -> None:
    save_adapter(_trained("vit", tunable), tmp_path)
    with pytest.raises(ModelError):
        load_adapter(tiny_model("bert"), tmp_path)


def test_a_model_without_tunable_modules_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tunable modules"):
        save_adapter(tiny_model("vit"), tmp_path)


def test_a_folder_that_holds_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no tunable modules"):
        load_adapter(tiny_model("vit"), tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"format": "other"}', '{"format": "gaisnet-tunable-1"}']
)
def test_a_damaged_description_is_refused(text: str, tmp_path: Path) -> None:
    save_adapter(_trained("vit", AdapterSpec()), tmp_path)
    (tmp_path / "tunable.json").write_text(text)
    with pytest.raises(ModelError):
        load_adapter(tiny_model("vit"), tmp_path)


def test_a_damaged_weight_file_is_refused(tmp_path: Path) -> None:
    for tunable, name in ((AdapterSpec(), "tunable"), (LoraSpec(), "adapter_model")):
        folder = tmp_path / name
        save_adapter(_trained("vit", tunable), folder)
        (folder / f"{name}.safetensors").write_bytes(b"not a tensor")
        with pytest.raises(ModelError):
            load_adapter(tiny_model("vit"), folder)


def test_an_adapter_in_a_pickle_is_not_opened(tmp_path: Path) -> None:
    save_adapter(_trained("vit", LoraSpec()), tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load_adapter(tiny_model("vit"), tmp_path)
