"""Where models come from, and what each bad source says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gaisnet.errors import ModelError
from gaisnet.models import load_model
from gaisnet.schema.model import ModelSpec
from tests.models.tiny import tiny_config, tiny_model, tiny_spec


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def _same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved GPT-2 of seed 3."""
    bare: Any = tiny_model("gpt2", seed=3).bare
    bare.save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_a_folder_gives_its_weights_whatever_the_seed(folder: Path) -> None:
    wanted = _weights(tiny_model("gpt2", seed=3).bare)
    assert _same(_weights(load_model(ModelSpec(source=str(folder), seed=8)).bare), wanted)


def test_random_weights_depend_on_the_seed_alone_and_leave_torchs_generator() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = _weights(tiny_model("vit", seed=4).bare)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert _same(_weights(tiny_model("vit", seed=4).bare), one)
    assert not _same(_weights(tiny_model("vit", seed=5).bare), one)


def test_random_weights_can_be_asked_for_despite_a_folder(folder: Path) -> None:
    random = load_model(ModelSpec(source=str(folder), weights="random", seed=5))
    assert _same(_weights(random.bare), _weights(tiny_model("gpt2", seed=5).bare))


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("gpt2", "causal_lm"),
        ("bert", "sequence_classification"),
        ("bert-mlm", "masked_lm"),
        ("vit", "image_classification"),
        ("vit-features", "features"),
        ("bert-decoder", "causal_lm"),
    ],
)
def test_the_task_is_what_the_configuration_says(name: str, task: str) -> None:
    assert tiny_model(name).task == task


def test_the_task_can_be_asked_for_and_needs_no_weights_of_its_head(folder: Path) -> None:
    spec = ModelSpec(source=str(folder), task="sequence_classification", num_labels=7, seed=1)
    one, two = load_model(spec), load_model(spec)
    assert one.architecture == "GPT2ForSequenceClassification"
    assert one.module(**one.example_inputs(2, 4)).logits.shape == (2, 7)
    assert _same(_weights(one.bare), _weights(two.bare))


def test_on_meta_nothing_is_allocated_even_for_the_largest(tmp_path: Path) -> None:
    huge = tiny_config("llama") | {"hidden_size": 16384, "num_attention_heads": 128}
    huge |= {"intermediate_size": 53248, "num_hidden_layers": 126, "vocab_size": 128256}
    path = tmp_path / "huge.json"
    path.write_text(json.dumps(huge))
    model = load_model(ModelSpec(source=str(path)), device="meta")
    assert all(p.is_meta for p in model.bare.parameters())
    assert sum(p.numel() for p in model.bare.parameters()) > 3e11
    assert model.n_units == 128
    assert model.example_inputs(2)["input_ids"].is_meta


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "qwen3", "bert", "vit", "mpnet", "opt"])
def test_the_units_found_on_meta_are_those_found_with_weights(name: str) -> None:
    real, meta = tiny_model(name).anatomy, tiny_model(name, device="meta").anatomy
    for field in ("block_path", "n_blocks", "prologue", "epilogue", "common", "head", "output_key"):
        assert getattr(real, field) == getattr(meta, field)
    assert real.parameter_units == meta.parameter_units


def test_the_type_of_the_weights_is_as_asked() -> None:
    model = tiny_model("llama", dtype="bfloat16")
    assert {p.dtype for p in model.bare.parameters()} == {torch.bfloat16}


def test_the_attention_kernel_is_as_asked() -> None:
    assert tiny_model("llama", attention="eager").config._attn_implementation == "eager"
    assert tiny_model("llama").config._attn_implementation == "sdpa"


def _refused(spec: ModelSpec) -> ModelError:
    with pytest.raises(ModelError) as caught:
        load_model(spec)
    assert caught.value.exit_code == 11
    assert caught.value.where == spec.source
    return caught.value


def test_a_name_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    error = _refused(ModelSpec(source="nobody/nothing-at-all"))
    assert "HF_HUB_OFFLINE" in str(error.hint)


def test_a_pickle_is_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = _refused(ModelSpec(source=str(folder)))
    assert "pickle" in error.message
    assert "safetensors" in str(error.hint)


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "no weights" in _refused(ModelSpec(source=str(folder))).message


def test_a_damaged_weight_file(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    _refused(ModelSpec(source=str(folder)))


def test_a_folder_that_lacks_some_weights(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_layer": 4}))
    error = _refused(ModelSpec(source=str(folder)))
    assert "transformer.h.3" in error.message


def test_weights_of_another_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_positions": 32}))
    _refused(ModelSpec(source=str(folder)))


def test_a_model_that_needs_its_authors_code(tmp_path: Path) -> None:
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.MyConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "mine.py").write_text("raise SystemExit('ran the code')")
    error = _refused(ModelSpec(source=str(tmp_path)))
    assert "never runs" in str(error.hint)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "model_type"),
        ("{}", "model_type"),
        ('{"model_type": "no-such-model"}', "no-such-model"),
        ('{"model_type": "gpt2", "n_layer": "many"}', "n_layer"),
    ],
)
def test_a_configuration_file_that_is_none(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    assert reason in _refused(ModelSpec(source=str(path))).message


def test_a_configuration_file_that_is_not_there(tmp_path: Path) -> None:
    _refused(ModelSpec(source=str(tmp_path / "none.json")))


def test_a_configuration_that_cannot_be_built(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny_config("gpt2") | {"n_head": 5}))
    _refused(ModelSpec(source=str(path)))


def test_a_model_of_one_block_and_one_of_none(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny_config("gpt2") | {"n_layer": 1}))
    assert load_model(ModelSpec(source=str(path))).n_units == 3
    path.write_text(json.dumps(tiny_config("gpt2") | {"n_layer": 0}))
    with pytest.raises(ModelError, match="no list of blocks"):
        load_model(ModelSpec(source=str(path)))


@pytest.mark.parametrize(
    "name", ["gpt2", "bert", "bert-mlm", "vit", "wav2vec2", "clip_vision_model"]
)
def test_example_batches_are_reproducible_and_fit_the_task(name: str) -> None:
    model = tiny_model(name)
    one, two = model.example_inputs(3, seed=4), model.example_inputs(3, seed=4)
    other = model.example_inputs(3, seed=5)
    raw = model.bare.main_input_name
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one[raw], other[raw])
    answer = model.module(**{key: value for key, value in one.items() if key != "labels"})
    loss = model.loss(answer[model.anatomy.output_key], one["labels"])
    assert loss.shape == ()
    assert torch.isfinite(loss)


def test_specifications_of_tiny_models_say_where_they_come_from() -> None:
    assert tiny_spec("gpt2", seed=3).source.endswith("config.json")
