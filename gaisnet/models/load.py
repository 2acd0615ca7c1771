"""Load a foundation model: from a folder, the hub, or a bare configuration.

Weights come from safetensors only, and a model's own code is never run: a pickle or a remote
module could do anything on this machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers.models.auto import modeling_auto

from gaisnet.errors import ModelError
from gaisnet.models.acceptance import refuse_unequal
from gaisnet.models.anatomy import find_anatomy
from gaisnet.models.foundation import FoundationModel
from gaisnet.models.inputs import on_device, raw_inputs
from gaisnet.schema.model import ModelSpec, Task

__all__ = ["load_model", "seeded"]

_PROBE_BATCH = 2
_PROBE_TOKENS = 7

_AUTO_CLASSES: dict[Task, Any] = {
    "causal_lm": transformers.AutoModelForCausalLM,
    "masked_lm": transformers.AutoModelForMaskedLM,
    "sequence_classification": transformers.AutoModelForSequenceClassification,
    "image_classification": transformers.AutoModelForImageClassification,
    "audio_classification": transformers.AutoModelForAudioClassification,
    "features": transformers.AutoModel,
}

_TASK_OF_SUFFIX: dict[str, Task] = {
    "ForCausalLM": "causal_lm",
    "LMHeadModel": "causal_lm",
    "ForMaskedLM": "masked_lm",
    "ForPreTraining": "masked_lm",
    "ForSequenceClassification": "sequence_classification",
    "ForImageClassification": "image_classification",
    "ForAudioClassification": "audio_classification",
    "Model": "features",
}

_OVER_SOUND = frozenset(modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES.values())
"""Architectures that classify sound, whatever they are called."""

_LOADING_ERRORS = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises for a model that it cannot build."""

_TASK_OF_MODEL_TYPE: tuple[tuple[Task, Any], ...] = (
    ("image_classification", modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
    ("causal_lm", modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
    ("masked_lm", modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
)

_ENCODERS_WITH_A_DECODER_CLASS = ("bert", "roberta", "electra", "camembert", "xlm-roberta")
"""Types that are listed under causal LMs as well, but are used as encoders."""


def load_model(spec: ModelSpec, *, device: str = "cpu", accepted: bool = False) -> FoundationModel:
    """Build the model that ``spec`` names and find its units.

    Dropout is off (see ``dropout.seed_dropout``); all parameters are as transformers leaves them.

    Args:
        spec: Source, task, type and seed.
        device: Where the weights go. ``meta`` builds from the configuration without allocating.
        accepted: Whether it is known that a split of this very model, by the same code, answers
            as the whole does; that is nearly half of the work for a small model.

    Returns:
        The model with its anatomy. Random weights depend on ``spec.seed`` alone, and torch's
        global generator is left as it was.

    Raises:
        ModelError: The source is not found, is not a model, has no safetensors weights or lacks
            some, needs remote code, or its architecture cannot be cut: a model off the meta device
            that is not known as ``accepted`` is cut into three and run once to be sure.
    """
    config = _read_config(spec)
    task = spec.task or _deduce_task(config)
    if config.architectures is None:
        config.architectures = []
    if spec.num_labels is not None:
        config.num_labels = spec.num_labels
    module = _build(spec, config, task, device)
    module.eval()
    generator = torch.Generator().manual_seed(0)
    inputs = on_device(raw_inputs(module, _PROBE_BATCH, _PROBE_TOKENS, generator), device)
    anatomy = find_anatomy(module, inputs)
    model = FoundationModel(
        module=module, config=module.config, task=task, spec=spec, anatomy=anatomy
    )
    if device != "meta" and not accepted:
        refuse_unequal(model, inputs)
    return model


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's CPU generator seeded for the block, and put back afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _read_config(spec: ModelSpec) -> Any:
    source = Path(spec.source)
    if source.suffix == ".json":
        return _config_of_file(source)
    with _as_model_error(spec):
        return transformers.AutoConfig.from_pretrained(
            spec.source, revision=spec.revision, trust_remote_code=False
        )


def _config_of_file(path: Path) -> Any:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"cannot read the configuration: {error.strerror}", where=str(path)
        ) from error
    except ValueError as error:
        raise ModelError(f"not valid JSON: {error}", where=str(path)) from error
    if not isinstance(values, dict) or "model_type" not in values:
        raise ModelError(
            "a model configuration needs the field model_type",
            where=str(path),
            hint="give the config.json of a transformers model",
        )
    model_type = values.pop("model_type")
    try:
        return transformers.AutoConfig.for_model(model_type, **values)
    except _LOADING_ERRORS as error:
        raise ModelError(
            f"not a configuration of {model_type}: {error}", where=str(path)
        ) from error


def _deduce_task(config: Any) -> Task:
    architecture = next(iter(getattr(config, "architectures", None) or []), "")
    if architecture in _OVER_SOUND:
        return "audio_classification"
    for suffix, task in _TASK_OF_SUFFIX.items():
        if architecture.endswith(suffix):
            return task
    if architecture and getattr(config, "is_encoder_decoder", False):
        return "features"
    for task, known in _TASK_OF_MODEL_TYPE:
        if config.model_type in known and config.model_type not in _ENCODERS_WITH_A_DECODER_CLASS:
            return task
    return "features"


def _build(spec: ModelSpec, config: Any, task: Task, device: str) -> Any:
    from_file = Path(spec.source).suffix == ".json"
    auto = _AUTO_CLASSES[task]
    kwargs: dict[str, Any] = {"dtype": getattr(torch, spec.dtype), "trust_remote_code": False}
    if spec.attention == "eager":
        kwargs["attn_implementation"] = "eager"
    with _as_model_error(spec), seeded(spec.seed):
        if device == "meta":
            with torch.device("meta"):
                return _without_padding_warnings(auto.from_config(config, **kwargs))
        if from_file or spec.weights == "random":
            return auto.from_config(config, **kwargs).to(device)
        return _load_weights(spec, auto, config, kwargs).to(device)


def _without_padding_warnings(module: nn.Module) -> nn.Module:
    """Some models look for padding in the token ids to warn of it; on meta there is no value."""
    for part in module.modules():
        if hasattr(part, "warn_if_padding_and_no_attention_mask"):
            part.warn_if_padding_and_no_attention_mask = _nothing  # type: ignore[assignment]
    return module


def _nothing(*_: object) -> None:
    """Instead of a warning."""


def _load_weights(spec: ModelSpec, auto: Any, config: Any, kwargs: dict[str, Any]) -> Any:
    _refuse_pickles(spec)
    module, report = auto.from_pretrained(
        spec.source,
        config=config,
        revision=spec.revision,
        use_safetensors=True,
        output_loading_info=True,
        **kwargs,
    )
    _refuse_missing_weights(spec, module, report["missing_keys"])
    return module


def _refuse_pickles(spec: ModelSpec) -> None:
    folder = Path(spec.source)
    if not os.path.isdir(folder) or any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    found = f"only {pickles[0]}, a pickle, which may run code" if pickles else "no weights"
    raise ModelError(
        f"no safetensors weights in this folder: {found}",
        where=spec.source,
        hint="save the model with save_pretrained (it writes model.safetensors), "
        "or ask for weights: random",
    )


def _refuse_missing_weights(spec: ModelSpec, module: nn.Module, missing: Any) -> None:
    """A new head may be missing; weights of the base model may not."""
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    lost = sorted(name for name in missing if name.startswith(prefix) and "pooler" not in name)
    if lost:
        raise ModelError(
            f"{len(lost)} weights of the model are missing, e.g. {lost[0]}",
            where=spec.source,
            hint="the folder is incomplete, or its config.json belongs to another model",
        )


@contextmanager
def _as_model_error(spec: ModelSpec) -> Iterator[None]:
    """What transformers raises for a bad source, as one of our messages."""
    try:
        yield
    except _LOADING_ERRORS as error:
        first_line = str(error).strip().split("\n")[0]
        raise ModelError(
            f"cannot load the model: {first_line}", where=spec.source, hint=_hint(spec, error)
        ) from error


def _hint(spec: ModelSpec, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return "this model needs its author's code, which gaisnet never runs"
    if isinstance(error, OSError) and not os.path.exists(spec.source):
        return (
            "there is no such folder that you may read; if it is a hub name, check it and the "
            "network (HF_HUB_OFFLINE=1 uses the local cache only)"
        )
    return "check that the folder holds a model that this version of transformers knows"
