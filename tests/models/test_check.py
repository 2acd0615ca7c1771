"""The proof of a split can fail, and the probe refuses what would fail it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gaisnet.errors import ModelError
from gaisnet.models import check_split, find_anatomy, tunable_state
from gaisnet.models.acceptance import refuse_unequal
from gaisnet.models.stage import Stage
from gaisnet.schema.model import LoraSpec
from tests.models.tiny import tiny_model

_FORWARD = Stage.forward


def test_a_proof_covers_every_cut_and_leaves_the_model_as_it_was() -> None:
    model = tiny_model("gpt2", LoraSpec(r=2))
    before = tunable_state(model.module)
    result = check_split(model)
    assert result.ok
    assert (result.architecture, result.tunable, result.n_units) == ("GPT2LMHeadModel", "lora", 5)
    singles = [check.segments for check in result.cuts if len(check.segments) == 2]
    assert singles == [((0, unit), (unit + 1, 4)) for unit in range(4)]
    assert {len(check.segments) for check in result.cuts} == {2, 3, 5}
    assert all(check.largest_difference == 0 for check in result.cuts)
    after = tunable_state(model.module)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None for p in model.module.parameters())


def test_a_proof_of_given_cuts_tries_only_those() -> None:
    result = check_split(tiny_model("vit", LoraSpec(r=2)), cuts=[[(0, 3), (4, 4)]])
    assert [check.segments for check in result.cuts] == [((0, 3), (4, 4))]


def test_a_proof_fails_when_a_stage_computes_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("vit", LoraSpec(r=2))

    model.bare.register_forward_hook(_shift_answer)
    result = check_split(model)
    assert result.ok, "a hook on the whole model is part of every last stage"
    monkeypatch.setattr("gaisnet.models.stage.Stage.forward", _noisy_forward)
    result = check_split(model)
    assert not result.ok
    assert not any(check.logits_equal or check.gradients_equal for check in result.cuts)
    assert all(check.largest_difference > 0 for check in result.cuts)


def _shift_answer(module: nn.Module, args: Any, output: Any) -> Any:
    output.logits = output.logits + 1
    return output


def _noisy_forward(self: Any, inputs: Any, hidden: Any = None, *, session: Any = None) -> Tensor:
    result: Tensor = _FORWARD(self, inputs, hidden, session=session)
    return result * 1.001


def _probe_after(name: str, change: Any) -> str:
    model = tiny_model(name)
    change(model.bare)
    inputs = model.example_inputs(2, 7)
    inputs.pop("labels")
    with pytest.raises(ModelError) as caught:
        find_anatomy(model.bare, inputs)
    return caught.value.message


def test_a_block_used_twice_is_refused() -> None:
    def share(bare: Any) -> None:
        bare.vit.layers[1] = bare.vit.layers[0]

    assert "share one block" in _probe_after("vit", share)


def test_a_model_whose_stages_answer_otherwise_is_refused_at_load() -> None:
    model = tiny_model("vit")
    inputs = model.example_inputs(2)
    inputs.pop("labels")
    refuse_unequal(model, inputs)
    calls: list[int] = []

    def drift(module: nn.Module, args: Any, output: Any) -> Any:
        calls.append(1)
        output.logits = output.logits + len(calls)
        return output

    model.bare.register_forward_hook(drift)
    with pytest.raises(ModelError, match=r"ViTForImageClassification cannot be cut: .* otherwise"):
        refuse_unequal(model, inputs)
