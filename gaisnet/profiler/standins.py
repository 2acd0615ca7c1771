"""Put other tensors in the place of a model's parameters and buffers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gaisnet.errors import ModelError
from gaisnet.models.attach import attach
from gaisnet.models.foundation import FoundationModel
from gaisnet.models.load import load_model
from gaisnet.profiler.valueless import as_without_padding
from gaisnet.schema.model import ModelSpec, TunableSpec

__all__ = [
    "fake_batch",
    "make_fake",
    "make_hollow",
    "model_on_meta",
    "unanalysable_as_model_error",
]


@contextmanager
def unanalysable_as_model_error(spec: ModelSpec) -> Iterator[None]:
    """A model whose operators need values, or real devices, is the user's matter, not a bug.

    Raises:
        ModelError: Torch failed inside the block.
    """
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"the model cannot be analysed without its values, on the meta device: {reason}",
            where=spec.source,
            hint="choose another model: torch cannot run all of this one without allocating it",
        ) from error


def model_on_meta(spec: ModelSpec, tunable: TunableSpec, seed: int) -> FoundationModel:
    """The model with its tunable modules, on the meta device: every shape and no value.

    Raises:
        ModelError: The model cannot be built or cut, or cannot have these tunable modules.
    """
    with as_without_padding():
        return attach(load_model(spec, device="meta"), tunable, seed=seed)


def make_fake(model: FoundationModel, mode: FakeTensorMode) -> None:
    """Turn a model on the meta device into one of fake CPU tensors, in place.

    Fake tensors run the operators that a CPU would run (on the meta device attention takes
    another path) and have storages of the right size that are never allocated.
    """

    def fake(tensor: Tensor) -> Tensor:
        with mode:
            return torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu"
            )

    _replace(model.bare, fake)


def make_hollow(model: FoundationModel) -> None:
    """Turn a model on the meta device into one of real zeros that take no memory, in place.

    Each tensor is a single zero seen through strides of nothing.
    """
    _replace(model.bare, lambda tensor: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape))


def fake_batch(batch: Mapping[str, Tensor], mode: FakeTensorMode) -> dict[str, Tensor]:
    """A batch of fake tensors like ``batch``."""
    return {name: mode.from_tensor(tensor) for name, tensor in batch.items()}


def _replace(module: nn.Module, make: Callable[[Tensor], Tensor]) -> None:
    """Replace every parameter and buffer; what was shared stays shared."""
    made: dict[int, Tensor] = {}

    def once(tensor: Tensor) -> Tensor:
        if id(tensor) not in made:
            new = make(tensor)
            if isinstance(tensor, nn.Parameter):
                new = nn.Parameter(new, requires_grad=tensor.requires_grad)
            made[id(tensor)] = new
        return made[id(tensor)]

    kept = list(module.modules())
    for part in kept:
        for name, parameter in part._parameters.items():
            part._parameters[name] = None if parameter is None else once(parameter)  # type: ignore[assignment]
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else once(buffer)
