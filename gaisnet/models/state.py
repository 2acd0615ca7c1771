"""The tunable modules' values, the frozen ones' hashes, and what crosses a cut because of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gaisnet.errors import ModelError
from gaisnet.models.foundation import FoundationModel, bare

__all__ = [
    "frozen_hashes",
    "load_state",
    "load_tunable_state",
    "needs_gradient",
    "tied_groups",
    "tunable_parameters",
    "tunable_state",
]


def tunable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that are trained, by the whole model's names.

    Args:
        module: A model (peft's wrapper or bare) or a stage.
    """
    return {name: p for name, p in _parameters(module).items() if p.requires_grad}


def tunable_state(module: nn.Module) -> dict[str, Tensor]:
    """Copies of the trained parameters, by the whole model's names, which no cut changes."""
    return {name: p.detach().clone() for name, p in tunable_parameters(module).items()}


def load_tunable_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set the trained parameters of a model or a stage; entries of others are ignored.

    Raises:
        ModelError: A parameter is missing, or has another shape.
    """
    load_state(tunable_parameters(module), state)


def load_state(parameters: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]) -> None:
    """Copy ``state`` into ``parameters``; nothing is changed if anything does not fit.

    Raises:
        ModelError: A parameter is missing, or has another shape.
    """
    for name, parameter in parameters.items():
        if name not in state:
            raise ModelError(f"the tunable state lacks {name}")
        if state[name].shape != parameter.shape:
            found, wanted = tuple(state[name].shape), tuple(parameter.shape)
            raise ModelError(f"{name} has shape {found} in the tunable state, not {wanted}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])


def frozen_hashes(module: nn.Module) -> dict[str, str]:
    """SHA-256 of every parameter that is not trained, by the whole model's names."""
    return {
        name: _sha256(parameter)
        for name, parameter in _parameters(module).items()
        if not parameter.requires_grad and not parameter.is_meta
    }


def tied_groups(model: FoundationModel) -> dict[str, tuple[int, ...]]:
    """Parameters that several units need, with those units.

    Each stage that holds one of the units has its own part of the gradient; the gradient of the
    whole is their sum, and all of them must take the same step.
    """
    return {name: units for name, units in model.parameter_units().items() if len(units) > 1}


def needs_gradient(model: FoundationModel, unit: int) -> bool:
    """Whether a gradient crosses the cut after ``unit``: is anything trained at or below it?"""
    return any(model.unit_of(name) <= unit for name in tunable_parameters(model.module))


def _parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    owned = getattr(module, "owned_parameters", None)
    if callable(owned):
        return dict(owned())
    return dict(bare(module).named_parameters())


def _sha256(tensor: Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()
