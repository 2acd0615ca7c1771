"""A loaded foundation model with its units and, once attached, its tunable modules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gaisnet.models.anatomy import Anatomy
from gaisnet.models.inputs import example_inputs
from gaisnet.models.losses import task_loss
from gaisnet.schema.model import ModelSpec, Task, TunableSpec

__all__ = ["FoundationModel", "bare", "bare_name"]

_PEFT_PREFIX = "base_model.model."


def bare(module: nn.Module) -> nn.Module:
    """The transformers model itself, without peft's wrapper."""
    get_base_model = getattr(module, "get_base_model", None)
    inner = get_base_model() if callable(get_base_model) else module
    assert isinstance(inner, nn.Module)
    return inner


def bare_name(name: str) -> str:
    """A parameter's name in the transformers model itself, without peft's prefix."""
    return name.removeprefix(_PEFT_PREFIX)


@dataclass
class FoundationModel:
    """A foundation model (FM) that can be cut. Built by ``load_model``, tuned by ``attach``.

    Parameter names are always those of the bare transformers model with whatever is attached,
    so they do not depend on the cut nor on peft's wrapper.
    """

    module: nn.Module
    """The transformers model, or peft's model around it."""
    config: Any
    """The transformers configuration."""
    task: Task
    """What the head answers."""
    spec: ModelSpec
    """What was asked for."""
    anatomy: Anatomy
    """Where its units are."""
    tunable: TunableSpec | None = None
    """Which tunable modules are attached."""

    @property
    def bare(self) -> nn.Module:
        """The transformers model itself, without peft's wrapper."""
        return bare(self.module)

    @property
    def architecture(self) -> str:
        """Class name of the transformers model."""
        return type(self.bare).__name__

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.bare.parameters()).device

    def to(self, device: torch.device) -> FoundationModel:
        """Move the weights, in place as torch does; returns this model."""
        self.module.to(device)
        return self

    @property
    def n_units(self) -> int:
        """Units that can be held apart: prologue, blocks, epilogue."""
        return self.anatomy.n_units

    @cached_property
    def unit_names(self) -> tuple[str, ...]:
        """A readable name of each unit."""
        blocks = (f"{self.anatomy.block_path}.{i}" for i in range(self.anatomy.n_blocks))
        return ("embeddings", *blocks, "norm+head" if self.anatomy.head else "norm")

    def units_of(self, parameter_name: str) -> tuple[int, ...]:
        """Units that need the parameter: several for tied ones.

        Raises:
            KeyError: There is no such parameter.
        """
        name = bare_name(parameter_name)
        known = self.anatomy.parameter_units.get(name)
        return known if known is not None else self._units_of_attached(name)

    def unit_of(self, parameter_name: str) -> int:
        """The lowest unit that needs the parameter.

        Raises:
            KeyError: There is no such parameter.
        """
        return self.units_of(parameter_name)[0]

    def parameter_units(self) -> dict[str, tuple[int, ...]]:
        """Units of every parameter, also of the attached ones, by name."""
        return {name: self.units_of(name) for name, _ in self.bare.named_parameters()}

    def example_inputs(
        self, batch_size: int, sequence_length: int | None = None, seed: int = 0
    ) -> dict[str, Tensor]:
        """A random batch of the right kind for the task, with ``labels``; see ``inputs``."""
        return example_inputs(
            self.bare,
            self.task,
            batch_size,
            sequence_length,
            seed=seed,
            hidden_size=self.anatomy.hidden_size,
        )

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean loss of a batch, bit-equal to the transformers model's own; see ``losses``."""
        return task_loss(self.task, self.config, logits, labels)

    def _units_of_attached(self, name: str) -> tuple[int, ...]:
        """An attached parameter belongs where the module that it sits in belongs."""
        anatomy = self.anatomy
        if name.startswith(f"{anatomy.block_path}."):
            index = int(name.removeprefix(f"{anatomy.block_path}.").split(".")[0])
            return (index + 1,)
        for path in (*anatomy.common, *anatomy.prologue, *anatomy.epilogue):
            if name.startswith(f"{path}."):
                return _units_of_path(anatomy, path)
        raise KeyError(name)


def _units_of_path(anatomy: Anatomy, path: str) -> tuple[int, ...]:
    if path in anatomy.common:
        return tuple(range(anatomy.n_units))
    return (0,) if path in anatomy.prologue else (anatomy.n_units - 1,)
