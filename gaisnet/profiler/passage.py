"""One forward and backward pass of a whole model, told unit by unit.

A listener hears when the pass enters each unit, forward and backward. FLOPs, live bytes and times
are all read off the same pass, so that they belong to the same division into units and add up to
the whole by construction. A unit's part begins where the hidden state leaves the unit before it,
so whatever is attached between two blocks (prompts, adapters) belongs to the upper one's input or
the lower one's output as it does in a stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gaisnet.models.foundation import FoundationModel
from gaisnet.models.probe import hidden_argument

__all__ = ["Listener", "Phase", "forward_inputs", "run_pass"]

Phase = Literal["forward", "backward"]


class Listener:
    """What wants to know where a pass is; every method may be overridden."""

    def enter(self, unit: int, phase: Phase) -> None:
        """The pass leaves what it was in and enters this unit."""

    def cut(self, unit: int, hidden: Tensor) -> None:
        """This is what crosses the cut after this unit forward; told just before ``enter``."""

    def finish(self) -> None:
        """The pass is over."""


def forward_inputs(model: FoundationModel, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the transformers model's ``forward``: no labels, and no cache."""
    inputs: dict[str, Any] = {name: value for name, value in batch.items() if name != "labels"}
    if hasattr(model.config, "use_cache") and model.task == "causal_lm":
        inputs["use_cache"] = False
    return inputs


def run_pass(
    model: FoundationModel,
    batch: Mapping[str, Tensor],
    listener: Listener,
    *,
    backward: bool = True,
) -> None:
    """Run ``batch`` through ``model`` and, if asked and anything is tuned, back.

    The loss counts as part of the last unit. Gradients are left in ``.grad``.

    Args:
        model: A model with its tunable modules attached; meta and fake tensors will do.
        batch: From ``model.example_inputs``, with labels.
        listener: Told of every unit entered.
        backward: Whether to run back as well; without it no graph is recorded.
    """
    tuned = backward and any(p.requires_grad for p in model.bare.parameters())
    last = model.n_units - 1
    with _boundaries(model, listener), torch.set_grad_enabled(tuned):
        listener.enter(0, "forward")
        outputs = model.bare(**forward_inputs(model, batch), return_dict=True)
        answer = outputs[model.anatomy.output_key]
        del outputs
        listener.cut(last, answer)
        loss = model.loss(answer, batch["labels"])
        del answer
        if tuned:
            listener.enter(last, "backward")
            loss.backward()  # type: ignore[no-untyped-call]
        listener.finish()


@contextmanager
def _boundaries(model: FoundationModel, listener: Listener) -> Iterator[None]:
    """Hooks on the blocks; the listener's come after whatever the tunable modules hooked in."""
    blocks = model.bare.get_submodule(model.anatomy.block_path)
    assert isinstance(blocks, nn.ModuleList)
    handles = [
        blocks[0].register_forward_pre_hook(
            partial(_enter_first, listener), with_kwargs=True, prepend=True
        )
    ]
    for index, block in enumerate(blocks):
        leave = partial(_leave, listener, model.anatomy.hidden_index, index + 1)
        handles.append(block.register_forward_hook(leave))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _enter_first(
    listener: Listener, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    hidden = hidden_argument(args, kwargs)
    if hidden.requires_grad:
        hidden.register_hook(partial(_come_back, listener, 0))  # type: ignore[no-untyped-call]
    listener.cut(0, hidden)
    listener.enter(1, "forward")


def _leave(
    listener: Listener, position: int, unit: int, block: nn.Module, args: Any, output: Any
) -> None:
    hidden = output if isinstance(output, Tensor) else output[position]
    if hidden.requires_grad:
        hidden.register_hook(partial(_come_back, listener, unit))
    listener.cut(unit, hidden)
    listener.enter(unit + 1, "forward")


def _come_back(listener: Listener, unit: int, gradient: Tensor) -> None:
    listener.enter(unit, "backward")
