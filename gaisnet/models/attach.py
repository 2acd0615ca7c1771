"""Attach tunable modules to a whole model, before it is cut."""

from __future__ import annotations

import dataclasses

from torch import nn

from gaisnet.errors import ModelError
from gaisnet.models.adapters import attach_adapters
from gaisnet.models.foundation import FoundationModel
from gaisnet.models.load import seeded
from gaisnet.models.lora import attach_lora
from gaisnet.models.prompts import attach_deep_prompts
from gaisnet.schema.model import (
    AdapterSpec,
    BitFitSpec,
    FullSpec,
    HeadSpec,
    LoraSpec,
    TunableSpec,
)

__all__ = ["attach"]

_LANGUAGE_TASKS = ("causal_lm", "masked_lm", "features")


def attach(model: FoundationModel, tunable: TunableSpec, *, seed: int) -> FoundationModel:
    """Freeze a model and give it tunable modules; the given model must not be used afterwards.

    Args:
        model: A whole model without tunable modules.
        tunable: Which modules to tune.
        seed: Seed of the new modules' values; torch's global generator is not touched.

    Returns:
        The same weights with the tunable modules attached.

    Raises:
        ModelError: The model already has tunable modules, or cannot have these.
    """
    if model.tunable is not None:
        raise ModelError("the model already has tunable modules", hint="load it again")
    model.module.requires_grad_(False)
    with seeded(seed):
        module = _attach(model, tunable)
    if model.device.type == "meta":
        module.to("meta")
    return dataclasses.replace(model, module=module.eval(), tunable=tunable)


def _attach(model: FoundationModel, tunable: TunableSpec) -> nn.Module:
    heads = _heads(model) if getattr(tunable, "train_head", False) else ()
    if isinstance(tunable, LoraSpec):
        wrapped = attach_lora(model, tunable, heads)
        assert isinstance(wrapped, nn.Module)
        return wrapped
    for path in heads:
        model.bare.get_submodule(path).requires_grad_(True)
    if isinstance(tunable, FullSpec):
        model.module.requires_grad_(True)
    elif isinstance(tunable, HeadSpec):
        _tune_head(model)
    elif isinstance(tunable, BitFitSpec):
        _tune_biases(model)
    elif isinstance(tunable, AdapterSpec):
        attach_adapters(model, tunable)
    else:
        attach_deep_prompts(model, tunable)
    return model.module


def _heads(model: FoundationModel) -> tuple[str, ...]:
    """A classification head, trained beside the tunable modules; never a language model's."""
    return () if model.task in _LANGUAGE_TASKS else model.anatomy.head


def _tune_head(model: FoundationModel) -> None:
    if not model.anatomy.head:
        raise ModelError(f"{model.architecture} has no head to tune")
    for path in model.anatomy.head:
        head = model.bare.get_submodule(path)
        for name, parameter in head.named_parameters(prefix=path):
            if len(model.units_of(name)) > 1:
                raise ModelError(
                    f"the head of {model.architecture} is tied to the embeddings ({name}), "
                    "so it cannot be tuned alone",
                    hint="tune it with lora or adapter",
                )
            parameter.requires_grad_(True)


def _tune_biases(model: FoundationModel) -> None:
    biases = [p for name, p in model.bare.named_parameters() if name.endswith("bias")]
    if not biases:
        raise ModelError(f"{model.architecture} has no biases to tune")
    for bias in biases:
        bias.requires_grad_(True)
