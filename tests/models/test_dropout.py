"""Dropout is off by default, and where it is on it does not depend on the cut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gaisnet.models import (
    FoundationModel,
    Stage,
    cut,
    disable_dropout,
    make_stage,
    seed_dropout,
    split_gradients,
    tunable_parameters,
)
from gaisnet.schema.model import FullSpec, LoraSpec, TunableSpec
from tests.models.tiny import tiny_config, tiny_model

CASES: list[tuple[str, TunableSpec]] = [
    ("gpt2", FullSpec()),
    ("bert", LoraSpec(r=2, dropout=0.3)),
    ("llama", LoraSpec(r=2, dropout=0.5)),
    ("distilbert", FullSpec()),
    ("wav2vec2", LoraSpec(r=2, dropout=0.3)),
]


def _whole(model: FoundationModel, inputs: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    raw = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    logits = model.module(**raw)[model.anatomy.output_key]
    parameters = tunable_parameters(model.module)
    loss = model.loss(logits, inputs["labels"])
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return logits, {n: g for n, g in zip(parameters, found, strict=True) if g is not None}


def _seed(parts: list[Stage], seed: int, step: int, microbatch: int) -> None:
    for part in parts:
        seed_dropout(part, seed, step, microbatch)


@pytest.mark.parametrize(("name", "tunable"), CASES, ids=[name for name, _ in CASES])
@pytest.mark.parametrize("parts", [[(0, 0), (1, 4)], [(0, 2), (3, 4)], [(0, 1), (2, 3), (4, 4)]])
def test_split_equals_whole_with_dropout_on(
    name: str, tunable: TunableSpec, parts: list[tuple[int, int]]
) -> None:
    model = tiny_model(name, tunable)
    stages = cut(model, parts)
    inputs = model.example_inputs(3, 6)
    plain, _ = _whole(model, inputs)
    seed_dropout(model, 5, 2, 1)
    _seed(stages, 5, 2, 1)
    logits, gradients = _whole(model, inputs)
    split_logits, split = split_gradients(model, stages, inputs)
    assert not torch.equal(plain, logits) or name == "llama"
    assert torch.equal(logits, split_logits)
    assert split.keys() == gradients.keys()
    assert all(torch.equal(gradients[key], split[key]) for key in split)


def test_each_step_seed_and_microbatch_has_its_own_draws() -> None:
    model = tiny_model("gpt2")
    inputs = model.example_inputs(2, 6)
    answers = []
    for seed, step, microbatch in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)):
        seed_dropout(model, seed, step, microbatch)
        answers.append(model.module(**inputs).logits)
    assert torch.equal(answers[0], answers[4])
    for one in range(4):
        for two in range(one):
            assert not torch.equal(answers[one], answers[two])


def test_units_do_not_share_draws() -> None:
    """Equal blocks on equal inputs drop different positions."""
    model = tiny_model("gpt2")
    inputs = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        stages = [make_stage(model, unit, unit) for unit in (1, 2)]
        blocks = [dict(stage.owned_parameters()) for stage in stages]
        for mine, theirs in zip(blocks[0].values(), blocks[1].values(), strict=True):
            theirs.copy_(mine)
        _seed(stages, 0, 0, 0)
        assert not torch.equal(stages[0]({}, inputs), stages[1]({}, inputs))
        _seed(stages, 0, 0, 0)
        for stage in stages:
            disable_dropout(stage)
        assert torch.equal(stages[0]({}, inputs), stages[1]({}, inputs))


def test_torchs_generator_is_left_as_it_was_after_answers_cuts_and_errors() -> None:
    model = tiny_model("gpt2")
    first, last = cut(model, [(0, 2), (3, 4)])
    seed_dropout(model, 0, 0)
    _seed([first, last], 0, 0, 0)
    inputs = model.example_inputs(2, 6)
    state = torch.get_rng_state()
    model.module(**inputs)
    hidden = first(inputs)
    last({}, hidden)
    with pytest.raises(RuntimeError):
        last({}, hidden[..., 1:])
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_is_off_after_loading_and_after_switching_it_off() -> None:
    assert tiny_config("gpt2").get("resid_pdrop") is None
    model = tiny_model("gpt2")
    assert model.config.resid_pdrop == 0.1
    inputs = model.example_inputs(2, 6)
    before = model.module(**inputs).logits
    assert torch.equal(model.module(**inputs).logits, before)
    seed_dropout(model, 0, 0)
    assert not torch.equal(model.module(**inputs).logits, before)
    disable_dropout(model)
    state = torch.get_rng_state()
    assert torch.equal(model.module(**inputs).logits, before)
    assert torch.equal(torch.get_rng_state(), state)
