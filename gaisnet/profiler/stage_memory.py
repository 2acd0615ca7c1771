"""What a candidate stage would use of a device's memory, without allocating it.

The stage is cut from a model of fake tensors and makes two training steps; the second, with the
optimizer's state in place, is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from gaisnet.models.foundation import FoundationModel
from gaisnet.models.stage import Stage, make_stage, side_inputs
from gaisnet.models.state import needs_gradient
from gaisnet.profiler.analysis import Optimizer
from gaisnet.profiler.cuts import hidden_before
from gaisnet.profiler.standins import (
    fake_batch,
    make_fake,
    model_on_meta,
    unanalysable_as_model_error,
)
from gaisnet.profiler.storages import StorageTracker
from gaisnet.profiler.timing import optimizer_of
from gaisnet.profiler.valueless import as_without_padding
from gaisnet.schema.model import ModelSpec, TunableSpec

__all__ = ["StageMemory", "StageStep", "stage_memory", "watch_step"]


@dataclass(frozen=True)
class StageMemory:
    """Bytes of a stage in a training step; the runtime itself is not in them."""

    weight_bytes: int
    """Parameters and buffers."""
    gradient_bytes: int
    """Gradients of the tuned parameters."""
    optimizer_bytes: int
    """The optimizer's state."""
    input_bytes: int
    """The batch's inputs, the received hidden state and the received gradient."""
    saved_bytes: int
    """Alive between the forward and the backward pass, the output included."""
    peak_bytes: int
    """Highest sum of everything that is alive at once in a step."""


def stage_memory(
    spec: ModelSpec,
    tunable: TunableSpec,
    first: int,
    last: int,
    batch_size: int,
    optimizer: Optimizer = "adamw",
    *,
    tokens: int | None = None,
    seed: int = 0,
    checkpointing: bool = False,
) -> StageMemory:
    """Memory of units ``first`` to ``last`` in a training step.

    Args:
        spec: The model.
        tunable: Its tunable modules.
        first: First unit of the stage.
        last: Last unit, inclusive.
        batch_size: Samples of a step.
        optimizer: What updates the tuned parameters.
        tokens: Sequence length, for text.
        seed: Seed of the batch.
        checkpointing: Whether blocks keep their input only and run again in the backward pass
            (activation checkpointing, Chen et al., arXiv 1604.06174).

    Raises:
        ModelError: The model cannot be built or cut, there are no such units, or it cannot run
            without values.
    """
    with unanalysable_as_model_error(spec):
        return _on_fakes(
            spec, tunable, (first, last), batch_size, optimizer, tokens, seed, checkpointing
        )


def _on_fakes(
    spec: ModelSpec,
    tunable: TunableSpec,
    units: tuple[int, int],
    batch_size: int,
    optimizer: Optimizer,
    tokens: int | None,
    seed: int,
    checkpointing: bool,
) -> StageMemory:
    first, last = units
    model = model_on_meta(spec, tunable, seed)
    with as_without_padding():
        hidden = hidden_before(model, first, model.example_inputs(batch_size, tokens, seed))
    mode = FakeTensorMode()
    make_fake(model, mode)
    batch = fake_batch(model.example_inputs(batch_size, tokens, seed), mode)
    with mode, as_without_padding():
        if hidden is not None:
            hidden = torch.empty(hidden.shape, dtype=hidden.dtype)
        step = StageStep(model, first, last, batch, hidden, optimizer)
        if checkpointing:
            step.checkpoint_blocks()
        return watch_step(step)


class StageStep:
    """A stage with all that one training step of it needs.

    Args:
        model: The whole model, of real or fake tensors.
        first: First unit.
        last: Last unit, inclusive.
        batch: A batch with labels.
        hidden: The hidden state before the cut; none for the first stage.
        optimizer: What updates the tuned parameters.
    """

    def __init__(
        self,
        model: FoundationModel,
        first: int,
        last: int,
        batch: Mapping[str, Tensor],
        hidden: Tensor | None,
        optimizer: Optimizer,
    ) -> None:
        self.stage: Stage = make_stage(model, first, last, private_tunables=False)
        self._model = model
        self._labels = batch["labels"] if self.stage.is_last else None
        raw = {name: value for name, value in batch.items() if name != "labels"}
        self._inputs = raw if self.stage.is_first else side_inputs(model, raw)
        self._hidden = hidden
        if hidden is not None:
            hidden.requires_grad_(needs_gradient(model, first - 1))
        tuned = list(self.stage.parameters_tuned().values())
        self._optimizer = optimizer_of(tuned, optimizer) if tuned else None
        self._gradient: Tensor | None = None

    def checkpoint_blocks(self) -> None:
        """Let every block keep nothing but its input."""
        blocks = self.stage.shell.get_submodule(self._model.anatomy.block_path)
        for index, block in enumerate(blocks.children()):
            if self.stage.first_unit <= index + 1 <= self.stage.last_unit:
                block.forward = _run_again(block.forward)

    def resident(self) -> list[Tensor]:
        """Parameters and buffers that the stage holds."""
        return [*self.stage.owned_parameters().values(), *self.stage.shell.buffers()]

    def received(self) -> list[Tensor]:
        """What came in from outside."""
        given = [self._hidden, self._labels, self._gradient]
        return [*self._inputs.values(), *(tensor for tensor in given if tensor is not None)]

    def gradients(self) -> list[Tensor]:
        """Gradients of the parameters, as far as there are any."""
        parameters = self.stage.owned_parameters().values()
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def state(self) -> list[Tensor]:
        """The optimizer's state."""
        if self._optimizer is None:
            return []
        states = self._optimizer.state.values()
        return [value for state in states for value in state.values() if isinstance(value, Tensor)]

    def forward(self) -> Tensor:
        """The loss of the last stage, the hidden state of another."""
        output: Tensor = self.stage(self._inputs, self._hidden)
        if self._labels is not None:
            return self._model.loss(output, self._labels)
        return output

    def backward(self, output: Tensor) -> None:
        """Back from the loss, or from a received gradient of the output's shape."""
        if not output.requires_grad:
            return
        if output.dim() and self._gradient is None:
            self._gradient = torch.empty_like(output)
        torch.autograd.backward(output, self._gradient)

    def update(self) -> None:
        """The optimizer's step, after which the gradients go."""
        if self._optimizer is not None:
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
        if self._hidden is not None:
            self._hidden.grad = None


def _run_again(forward: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which keeps its arguments alone and is run again for the gradients.

    Its signature stays in sight: modules that are attached to the block read it.
    """

    @wraps(forward)
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return checkpointed


def watch_step(step: StageStep) -> StageMemory:
    """Run one step to warm up and one under a tracker; real and fake tensors alike."""
    step.backward(step.forward())
    step.update()
    tracker = StorageTracker()
    tracker.add([*step.resident(), *step.state(), *step.received()])
    before = tracker.live_bytes
    with tracker:
        output = step.forward()
        saved = tracker.live_bytes - before
        step.backward(output)
        del output
        gradients = _bytes(step.gradients())
        step.update()
    return StageMemory(
        weight_bytes=_bytes(step.resident()),
        gradient_bytes=gradients,
        optimizer_bytes=_bytes(step.state()),
        input_bytes=_bytes(step.received()),
        saved_bytes=saved,
        peak_bytes=tracker.peak_bytes,
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the tensors' storages, shared ones once."""
    tracker = StorageTracker()
    tracker.add(tensors)
    return tracker.live_bytes
