"""Write tunable modules to a folder and read them back.

LoRA goes in peft's own format, so that ``peft.PeftModel.from_pretrained(base, folder)`` loads it;
the other kinds are ``tunable.safetensors`` beside ``tunable.json``, which says what they are.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import peft
from peft import PeftModel
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from gaisnet.errors import ModelError
from gaisnet.models.attach import attach
from gaisnet.models.foundation import FoundationModel
from gaisnet.models.state import load_tunable_state, tunable_state
from gaisnet.schema.model import LoraSpec, TunableSpec

__all__ = ["load_adapter", "save_adapter"]

_WEIGHTS = "tunable.safetensors"
_DESCRIPTION = "tunable.json"
_FORMAT = "gaisnet-tunable-1"


def save_adapter(model: FoundationModel, path: Path | str) -> None:
    """Write the tunable modules of a model to a folder, which is made if need be.

    Raises:
        ModelError: The model has no tunable modules.
    """
    if model.tunable is None:
        raise ModelError("the model has no tunable modules to save")
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(model.tunable, LoraSpec):
        _save_peft(model, folder)
        return
    description = {
        "format": _FORMAT,
        "base_model": model.spec.model_dump(mode="json"),
        "tunable": model.tunable.model_dump(mode="json"),
    }
    save_file(tunable_state(model.module), folder / _WEIGHTS)
    text = json.dumps(description, indent=2, sort_keys=True)
    (folder / _DESCRIPTION).write_text(f"{text}\n", encoding="utf-8")


def load_adapter(model: FoundationModel, path: Path | str) -> FoundationModel:
    """Attach saved tunable modules to a freshly loaded model, which must not be used afterwards.

    Args:
        model: The foundation model that they were saved from, without tunable modules.
        path: A folder that ``save_adapter`` or peft wrote.

    Raises:
        ModelError: The folder holds no tunable modules, or they do not fit the model.
    """
    folder = Path(path)
    if (folder / "adapter_config.json").is_file():
        return _load_peft(model, folder)
    try:
        description = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        spec = _parse(description)
        state = load_file(folder / _WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(
            f"no tunable modules can be read here: {error}",
            where=str(folder),
            hint="give a folder with adapter_config.json or tunable.json",
        ) from error
    tuned = attach(model, spec, seed=model.spec.seed)
    load_tunable_state(tuned.module, state)
    return tuned


def _parse(description: dict[str, Any]) -> TunableSpec:
    if description["format"] != _FORMAT:
        raise ValueError(f"unknown format {description['format']!r}")
    adapter: TypeAdapter[TunableSpec] = TypeAdapter(TunableSpec)
    return adapter.validate_python(description["tunable"], strict=False)


def _save_peft(model: FoundationModel, folder: Path) -> None:
    module: Any = model.module
    for config in module.peft_config.values():
        config.base_model_name_or_path = model.spec.source
    module.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)


def _load_peft(model: FoundationModel, folder: Path) -> FoundationModel:
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(
            "no adapter_model.safetensors in this folder",
            where=str(folder),
            hint="adapters are read from safetensors only",
        )
    try:
        with warnings.catch_warnings():
            # peft 0.21 reads a property that transformers 5 renamed.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
            module = PeftModel.from_pretrained(model.module, str(folder), is_trainable=True)
    except (RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise ModelError(f"the adapter does not fit: {error}", where=str(folder)) from error
    config = module.peft_config["default"]
    if not isinstance(config, peft.LoraConfig):
        raise ModelError(f"{type(config).__name__} is not supported", where=str(folder))
    return dataclasses.replace(model, module=module.eval(), tunable=_lora_spec(config))


def _lora_spec(config: Any) -> LoraSpec:
    return LoraSpec(
        r=config.r,
        alpha=int(config.lora_alpha),
        dropout=config.lora_dropout,
        targets=tuple(sorted(config.target_modules)),
        train_head=bool(config.modules_to_save),
    )
