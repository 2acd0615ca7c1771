"""Loss and accuracy on held-out data against transformers' own, over the whole file at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gaisnet.errors import RunError
from gaisnet.executor.data import Shard
from gaisnet.executor.evaluate import Evaluator
from gaisnet.executor.residual import residual_name
from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.schema.model import LoraSpec, ModelSpec
from tests.executor.serving import build as build_served
from tests.executor.serving import known, modules_of

VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
    "num_labels": 4,
    "initializer_range": 0.3,
}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 30}
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 30,
}


def build(folder: Path, config: dict[str, object], **spec: object) -> FoundationModel:
    (folder / "config.json").write_text(json.dumps(config))
    return load_model(ModelSpec(source=str(folder / "config.json"), **spec))


def example(model: FoundationModel, samples: int, seed: int = 1) -> Shard:
    inputs = model.example_inputs(samples, seed=seed)
    labels = inputs.pop("labels")
    return Shard("held-out", inputs, labels)


@torch.no_grad()
def whole_file(model: FoundationModel, shard: Shard) -> tuple[float, torch.Tensor]:
    out = model.module(**shard.inputs, labels=shard.labels)
    return float(out.loss), out.logits


@pytest.mark.parametrize("batch_size", [3, 5, 50])
def test_classification_equals_one_pass_over_the_file(tmp_path, batch_size):
    model = build(tmp_path, VIT)
    shard = example(model, 13)
    loss, logits = whole_file(model, shard)
    found = Evaluator(model, batch_size=batch_size).evaluate(shard)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.accuracy == pytest.approx(
        (logits.argmax(-1) == shard.labels).float().mean().item()
    )
    assert found.scored == 13


@pytest.mark.parametrize("batch_size", [2, 50])
def test_a_language_model_is_scored_by_token(tmp_path, batch_size):
    model = build(tmp_path, GPT2)
    shard = example(model, 5)
    assert shard.labels is not None
    shard.labels[0, 3:] = -100
    shard.labels[2:4, :] = -100
    loss, logits = whole_file(model, shard)
    found = Evaluator(model, batch_size=batch_size).evaluate(shard)
    counted = shard.labels[:, 1:] != -100
    right = (logits[:, :-1].argmax(-1) == shard.labels[:, 1:]) & counted
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.scored == counted.sum().item()
    assert found.accuracy == pytest.approx((right.sum() / counted.sum()).item())


def test_a_masked_language_model_is_scored_where_it_guesses(tmp_path):
    model = build(tmp_path, BERT, task="masked_lm")
    shard = example(model, 6)
    loss, _ = whole_file(model, shard)
    found = Evaluator(model, batch_size=4).evaluate(shard)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.scored == (shard.labels != -100).sum().item()


def test_features_have_a_loss_but_no_accuracy(tmp_path):
    model = build(tmp_path, BERT, task="features")
    found = Evaluator(model).evaluate(example(model, 4))
    assert found.accuracy is None
    assert found.loss > 0
    assert found.scored == 4


def test_given_modules_are_used_and_the_models_own_stay(tmp_path):
    model = attach(build(tmp_path, VIT), LoraSpec(r=2), seed=0)
    shard = example(model, 30)
    evaluator = Evaluator(model)
    plain = evaluator.evaluate(shard)
    own = {name: p.clone() for name, p in model.bare.named_parameters() if p.requires_grad}
    generator = torch.Generator().manual_seed(0)
    changed = {n: p + 0.5 * torch.randn(p.shape, generator=generator) for n, p in own.items()}
    assert evaluator.evaluate(shard, changed).loss != plain.loss
    assert evaluator.evaluate(shard, own) == plain
    assert all(torch.equal(p, own[n]) for n, p in model.bare.named_parameters() if n in own)


def test_residuals_of_fedex_lora_count():
    model, changed = known("vit"), build_served("vit")
    inputs = model.example_inputs(40, seed=1)
    labels = inputs.pop("labels")
    shard, modules = Shard("held-out", inputs, labels), modules_of(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in [name for name in modules if ".lora_A." in name]:
            layer = changed.bare.get_submodule(name.partition(".lora_A.")[0])
            residual = modules[residual_name(name)] = torch.randn(
                layer.base_layer.weight.shape, generator=generator
            )
            layer.base_layer.weight += layer.scaling["default"] * residual
    expected = Evaluator(changed).evaluate(shard)
    assert Evaluator(model).evaluate(shard, modules).loss == pytest.approx(expected.loss)
    assert expected.loss != pytest.approx(Evaluator(model).evaluate(shard).loss)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    model = attach(build(tmp_path, VIT), LoraSpec(r=2), seed=0)
    broken = {n: p * torch.nan for n, p in model.bare.named_parameters() if p.requires_grad}
    with pytest.raises(RunError, match="the loss on held-out data is nan"):
        Evaluator(model).evaluate(example(model, 4), broken)
