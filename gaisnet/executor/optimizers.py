"""Optimizers by their spec, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gaisnet.schema.job import OptimizerSpec

__all__ = ["load_optimizer_state", "make_optimizer", "optimizer_state"]

_SEPARATOR, _COUNT = "|", "step"
"""torch counts steps on the processor, wherever the parameters lie."""


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], spec: OptimizerSpec
) -> torch.optim.Optimizer | None:
    """torch's own optimizer over ``parameters``; none if there are none."""
    if not parameters:
        return None
    if spec.kind == "sgd":
        return torch.optim.SGD(
            parameters.values(),
            lr=spec.learning_rate,
            momentum=spec.momentum,
            weight_decay=spec.weight_decay,
        )
    return torch.optim.AdamW(
        parameters.values(),
        lr=spec.learning_rate,
        betas=(spec.beta1, spec.beta2),
        eps=spec.eps,
        weight_decay=spec.weight_decay,
    )


def optimizer_state(
    optimizer: torch.optim.Optimizer | None, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Moments and step counts as ``parameter|key``; empty before the first step."""
    if optimizer is None:
        return {}
    return {
        f"{name}{_SEPARATOR}{key}": value.detach().clone()
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_optimizer_state(
    optimizer: torch.optim.Optimizer | None,
    parameters: Mapping[str, nn.Parameter],
    state: Mapping[str, Tensor],
) -> None:
    """Put back what ``optimizer_state`` gave; what it holds for others is ignored."""
    if optimizer is None:
        return
    optimizer.state.clear()
    for name, value in state.items():
        parameter, _, key = name.rpartition(_SEPARATOR)
        if parameter in parameters:
            tuned = parameters[parameter]
            place = value.device if key == _COUNT else tuned.device
            optimizer.state[tuned][key] = value.to(place, copy=True)
