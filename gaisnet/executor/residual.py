"""FedEx-LoRA's residuals in a stage: what averaging A and B apart leaves out of the mean of B A.

The frozen weight W0 stays as it is in the whole model; a stage that received a residual R computes
with a private W0 + s R, s the scale of the LoRA layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gaisnet.models import FoundationModel, Stage

__all__ = ["RESIDUAL", "apply_residuals", "is_residual", "residual_name"]

RESIDUAL = ".lora_R."
_A, _B = ".lora_A.", ".lora_B."


def is_residual(name: str) -> bool:
    """Whether an entry of a module state is a residual."""
    return RESIDUAL in name


def residual_name(name_of_a: str) -> str:
    """The residual's name beside LoRA's A (``….lora_A.default.weight``); others stay."""
    return name_of_a.replace(_A, RESIDUAL)


def apply_residuals(model: FoundationModel, stage: Stage, state: Mapping[str, Tensor]) -> None:
    """Set the adapted maps of a stage to ``W0 + s R`` for each residual R ``[out, in]``.

    Residuals of layers that the stage does not hold are ignored; W0 is read from ``model``.
    """
    held = stage.owned_parameters()
    for name, residual in state.items():
        path, found, _ = name.partition(RESIDUAL)
        weight = f"{path}.base_layer.weight"
        if found and weight in held:
            _replace_weight(model, stage, path, weight, residual)


@torch.no_grad()
def _replace_weight(
    model: FoundationModel, stage: Stage, path: str, weight: str, residual: Tensor
) -> None:
    layer: Any = stage.shell.get_submodule(path)
    frozen = model.bare.get_parameter(weight)
    update = layer.scaling["default"] * residual.to(frozen.device)
    if layer.fan_in_fan_out:
        update = update.T
    layer.base_layer.weight = nn.Parameter(frozen + update, requires_grad=False)
