"""Prove that a split of a model equals the model: logits, gradients, generated tokens.

The tunable modules get random values for the proof (fresh LoRA and adapters are the identity,
which would prove little) and their own values back afterwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gaisnet.models.foundation import FoundationModel
from gaisnet.models.generate import greedy_generate
from gaisnet.models.inputs import text_config
from gaisnet.models.stage import Stage, cut, make_stage, side_inputs
from gaisnet.models.state import (
    load_tunable_state,
    needs_gradient,
    tied_groups,
    tunable_parameters,
    tunable_state,
)

__all__ = ["CutCheck", "SplitCheck", "check_split", "split_gradients"]

_BATCH = 3
_TOKENS = 9
_NEW_TOKENS = 5
_NOISE = 0.05
_MANY_STAGES = 16
"""Models with more units are not also cut into one stage a unit."""

Segments = tuple[tuple[int, int], ...]
Gradients = dict[str, Tensor]


@dataclass(frozen=True)
class CutCheck:
    """One split against the whole."""

    segments: Segments
    """First and last unit of each stage."""
    logits_equal: bool
    """Whether the logits are equal, bit for bit."""
    gradients_equal: bool
    """Whether the gradients of all tunable parameters are. Those that three or more units share
    are sums in another order and count as equal within rounding."""
    generation_equal: bool | None
    """Whether left-padded greedy generation gives the same tokens; ``None`` for other tasks."""
    largest_difference: float
    """Largest absolute difference of a logit or a gradient."""

    @property
    def ok(self) -> bool:
        """Whether the split is exact."""
        return self.logits_equal and self.gradients_equal and self.generation_equal is not False


@dataclass(frozen=True)
class SplitCheck:
    """All splits of a model that were tried."""

    architecture: str
    task: str
    tunable: str
    n_units: int
    cuts: tuple[CutCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every split is exact."""
        return all(check.ok for check in self.cuts)


def check_split(
    model: FoundationModel, *, cuts: Sequence[Sequence[tuple[int, int]]] | None = None
) -> SplitCheck:
    """Compare splits of a model with the whole.

    Args:
        model: The whole model; where nothing is attached, all parameters count as tunable.
        cuts: Segments of each split to try; by default every single cut, one cut into three and,
            for a model of at most 16 units, one stage a unit.

    Raises:
        ModelError: A split cannot be made.
    """
    inputs = _padded_inputs(model)
    with _shaken(model):
        whole = _Whole(model, inputs)
        checks = [_check(model, whole, inputs, segments) for segments in cuts or _cuts(model)]
    return SplitCheck(
        architecture=model.architecture,
        task=model.task,
        tunable=model.tunable.kind if model.tunable else "all parameters",
        n_units=model.n_units,
        cuts=tuple(checks),
    )


class _Whole:
    """What the unsplit model computes."""

    def __init__(self, model: FoundationModel, inputs: Mapping[str, Tensor]) -> None:
        # Tuning keeps no cache: with one, keys lie differently in memory, and some processors then
        # round their products differently.
        plain = {"use_cache": False} if model.task == "causal_lm" else {}
        outputs = model.module(**{k: v for k, v in inputs.items() if k != "labels"}, **plain)
        self.logits: Tensor = outputs[model.anatomy.output_key]
        parameters = tunable_parameters(model.module)
        loss = model.loss(self.logits, inputs["labels"])
        found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        pairs = zip(parameters, found, strict=True)
        self.logits = self.logits.detach()
        self.gradients = {name: gradient for name, gradient in pairs if gradient is not None}
        generates = model.task == "causal_lm" and make_stage(model, 0, 0).can_generate
        self.tokens = _generate_whole(model, inputs) if generates else None


def _generate_whole(model: FoundationModel, inputs: Mapping[str, Tensor]) -> Tensor:
    module: Any = model.bare
    # An end token that no model makes, so that every comparison has its full length.
    tokens: Tensor = module.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=_NEW_TOKENS,
        do_sample=False,
        eos_token_id=text_config(model.config).vocab_size,
        pad_token_id=0,
    )
    return tokens


def _check(
    model: FoundationModel,
    whole: _Whole,
    inputs: Mapping[str, Tensor],
    segments: Sequence[tuple[int, int]],
) -> CutCheck:
    stages = cut(model, segments)
    logits, gradients = split_gradients(model, stages, inputs)
    tokens = None
    if whole.tokens is not None:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        tokens = greedy_generate(stages, ids, mask, _NEW_TOKENS)
    shared = {name for name, units in tied_groups(model).items() if len(units) > 2}
    return CutCheck(
        segments=tuple(segments),
        logits_equal=torch.equal(logits, whole.logits),
        gradients_equal=_equal(gradients, whole.gradients, shared),
        generation_equal=None if tokens is None else torch.equal(tokens, _some(whole.tokens)),
        largest_difference=_difference(logits, gradients, whole),
    )


def split_gradients(
    model: FoundationModel, stages: Sequence[Stage], inputs: Mapping[str, Tensor]
) -> tuple[Tensor, Gradients]:
    """One training pass over stages, as split learning does it: a leaf at every cut.

    Args:
        model: The whole model, for its loss.
        stages: All its stages.
        inputs: A batch with ``labels``.

    Returns:
        Logits, and the gradient of each tunable parameter, summed over the stages that hold it.
    """
    side = side_inputs(model, inputs)
    leaves: list[Tensor] = []
    outputs = [stages[0](inputs)]
    for before, stage in itertools.pairwise(stages):
        wanted = needs_gradient(model, before.last_unit)
        leaves.append(outputs[-1].detach().requires_grad_(wanted))
        outputs.append(stage(side, leaves[-1]))
    gradients = _backward(model.loss(outputs[-1], inputs["labels"]), stages, outputs, leaves)
    return outputs[-1].detach(), gradients


def _backward(
    loss: Tensor, stages: Sequence[Stage], outputs: Sequence[Tensor], leaves: Sequence[Tensor]
) -> Gradients:
    gradients: Gradients = {}
    value, upstream = loss, None
    for index in reversed(range(len(stages))):
        parameters = stages[index].parameters_tuned()
        leaf = [leaves[index - 1]] if index and leaves[index - 1].requires_grad else []
        wanted = [*parameters.values(), *leaf]
        if not wanted or not value.requires_grad:
            break
        found = torch.autograd.grad(value, wanted, upstream, allow_unused=True)
        for name, gradient in zip(parameters, found, strict=False):
            if gradient is not None:
                gradients[name] = gradients[name] + gradient if name in gradients else gradient
        if not leaf:
            break
        value, upstream = outputs[index - 1], found[-1]
    return gradients


def _equal(found: Gradients, wanted: Gradients, shared: set[str]) -> bool:
    if found.keys() != wanted.keys():
        return False
    return all(
        torch.allclose(found[name], wanted[name], rtol=1e-4, atol=1e-6)
        if name in shared
        else torch.equal(found[name], wanted[name])
        for name in wanted
    )


def _difference(logits: Tensor, gradients: Gradients, whole: _Whole) -> float:
    pairs = [(logits, whole.logits)]
    pairs += [
        (gradients[name], whole.gradients[name]) for name in gradients.keys() & whole.gradients
    ]
    return max(float((a - b).abs().max()) for a, b in pairs)


def _cuts(model: FoundationModel) -> list[Segments]:
    last = model.n_units - 1
    cuts: list[Segments] = [((0, unit), (unit + 1, last)) for unit in range(last)]
    if model.n_units >= 3:
        cuts.append(((0, 0), (1, last - 1), (last, last)))
    if 3 < model.n_units <= _MANY_STAGES:
        cuts.append(tuple((unit, unit) for unit in range(model.n_units)))
    return cuts


def _padded_inputs(model: FoundationModel) -> dict[str, Tensor]:
    """A batch; text is padded on the left, by another length in each row."""
    inputs = model.example_inputs(_BATCH, _TOKENS)
    if "attention_mask" in inputs:
        for row in range(_BATCH):
            inputs["attention_mask"][row, :row] = 0
    return inputs


@contextmanager
def _shaken(model: FoundationModel) -> Iterator[None]:
    """Random values for the tunable modules, and the old ones back."""
    kept = tunable_state(model.module)
    generator = torch.Generator().manual_seed(0)
    noise = {n: torch.randn(t.shape, generator=generator).to(t) * _NOISE for n, t in kept.items()}
    load_tunable_state(model.module, {name: kept[name] + noise[name] for name in kept})
    try:
        yield
    finally:
        load_tunable_state(model.module, kept)


def _some(tokens: Tensor | None) -> Tensor:
    assert tokens is not None
    return tokens
