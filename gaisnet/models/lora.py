"""LoRA through peft, with targets for architectures that peft has no defaults for."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from gaisnet.errors import ModelError
from gaisnet.models.foundation import FoundationModel
from gaisnet.schema.model import LoraSpec

__all__ = ["attach_lora", "default_targets"]

_QUERIES_AND_VALUES = (
    ("q_proj", "v_proj"),
    ("query", "value"),
    ("query_proj", "value_proj"),
    ("q_lin", "v_lin"),
    ("q", "v"),
    ("Wq", "Wv"),
    ("q_b_proj", "kv_b_proj"),
    ("q_proj", "kv_b_proj"),
)
"""What attention's queries and values are called, most usual first."""

_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "att_proj", "in_proj")
"""What one map for queries, keys and values is called."""


def attach_lora(model: FoundationModel, spec: LoraSpec, heads: Iterable[str]) -> Any:
    """Wrap the model by peft.

    Args:
        model: The model, all frozen.
        spec: Rank, scale and targets.
        heads: Paths of modules to be trained whole (peft's ``modules_to_save``).

    Raises:
        ModelError: Nothing matches the targets.
    """
    targets = spec.targets or default_targets(model)
    config = LoraConfig(
        r=spec.r,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=list(targets),
        modules_to_save=list(heads) or None,
        fan_in_fan_out=_any_conv1d(model.bare, targets),
    )
    try:
        with warnings.catch_warnings():
            # peft 0.21 reads a property that transformers 5 renamed.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
            return get_peft_model(model.module, config)
    except ValueError as error:
        raise ModelError(
            f"LoRA cannot be attached to {model.architecture}: {error}",
            hint="name modules of the model under tunable.targets",
        ) from error


def default_targets(model: FoundationModel) -> tuple[str, ...]:
    """Suffixes of the maps that make attention's queries and values.

    Where the blocks have no such maps under a known name, all their linear maps.

    Raises:
        ModelError: The blocks have no linear maps.
    """
    blocks = model.bare.get_submodule(model.anatomy.block_path)
    linear = (nn.Linear, Conv1D)
    names = {path.split(".")[-1] for path, m in blocks.named_modules() if isinstance(m, linear)}
    for pair in _QUERIES_AND_VALUES:
        if set(pair) <= names:
            return pair
    for fused in _FUSED:
        if fused in names:
            return (fused,)
    if not names:
        raise ModelError(
            f"{model.architecture} has no linear maps in its blocks, so no place for LoRA",
            hint="tune it with head, bitfit or full",
        )
    return tuple(sorted(names))


def _any_conv1d(module: nn.Module, targets: Iterable[str]) -> bool:
    return any(
        isinstance(part, Conv1D) and path.split(".")[-1] in set(targets)
        for path, part in module.named_modules()
    )
