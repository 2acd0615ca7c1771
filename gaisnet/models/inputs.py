"""Random batches that a model accepts: for probes, profiles and proofs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gaisnet.errors import ModelError
from gaisnet.schema.model import Task

__all__ = ["example_inputs", "on_device", "raw_inputs", "text_config"]

_DEFAULT_TOKENS = 32
_ANY_VOCABULARY = 128
"""For models over characters, whose config gives no vocabulary."""
_MASKED_SHARE = 0.15


def example_inputs(
    module: nn.Module,
    task: Task,
    batch_size: int,
    sequence_length: int | None = None,
    *,
    seed: int = 0,
    hidden_size: int = 1,
) -> dict[str, Tensor]:
    """A random batch with its ``labels``, on the model's device (there without mask if meta).

    Args:
        module: A bare transformers model.
        task: What its head answers.
        batch_size: Samples.
        sequence_length: Tokens per sample, for text; by default 32, or fewer where the model
            has fewer positions. Images and sound have the size that the model's config says.
        seed: The same seed gives the same batch; torch's global generator is not touched.
        hidden_size: Width of the labels for the task ``features``.

    Raises:
        ModelError: The model's kind of input is not known.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = raw_inputs(module, batch_size, sequence_length, generator)
    batch["labels"] = _labels(module, task, batch, hidden_size, generator)
    if "labels" in batch and task == "masked_lm":
        hidden = batch["labels"] >= 0
        batch["input_ids"] = batch["input_ids"].masked_fill(hidden, _mask_token(module))
    return on_device(batch, next(module.parameters()).device)


def on_device(batch: dict[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    """The batch on a device; on meta without its mask, whose values models want to read."""
    moved = {name: tensor.to(device) for name, tensor in batch.items()}
    if torch.device(device).type == "meta":
        moved.pop("attention_mask", None)
    return moved


def raw_inputs(
    module: nn.Module, batch_size: int, sequence_length: int | None, generator: torch.Generator
) -> dict[str, Tensor]:
    """A random batch without labels, on the CPU."""
    kind = getattr(module, "main_input_name", "input_ids")
    config = getattr(module, "config", None)
    if kind == "input_ids":
        return _text(config, batch_size, sequence_length, generator)
    shapes = {
        "pixel_values": _image_shape,
        "input_features": _spectrogram_shape,
        "input_values": _wave_shape,
    }
    if kind not in shapes:
        raise ModelError(
            f"{type(module).__name__} takes {kind}, which is not supported",
            hint="models over tokens, images (pixel_values) and sound are supported",
        )
    shape = (batch_size, *shapes[kind](module, config))
    return {kind: torch.randn(shape, generator=generator).to(_dtype(module))}


def text_config(config: Any) -> Any:
    """The part of a configuration that describes the language model."""
    get_text_config = getattr(config, "get_text_config", None)
    return get_text_config(decoder=True) if callable(get_text_config) else config


def _dtype(module: nn.Module) -> torch.dtype:
    return next(p.dtype for p in module.parameters() if p.is_floating_point())


def _text(
    config: Any, batch_size: int, sequence_length: int | None, generator: torch.Generator
) -> dict[str, Tensor]:
    text = text_config(config)
    tokens = sequence_length or min(_DEFAULT_TOKENS, _most_tokens(text))
    special = _special_tokens(text)
    vocabulary = getattr(text, "vocab_size", _ANY_VOCABULARY)
    usable = torch.tensor([i for i in range(vocabulary) if i not in special])
    picks = torch.randint(len(usable), (batch_size, tokens), generator=generator)
    return {"input_ids": usable[picks], "attention_mask": torch.ones(batch_size, tokens).long()}


def _most_tokens(text: Any) -> int:
    """Positions that the model has; two fewer, since RoBERTa counts from its padding index."""
    most = getattr(text, "max_position_embeddings", None)
    return int(most) - 2 if isinstance(most, int) and most > 2 else _DEFAULT_TOKENS


def _special_tokens(text: Any) -> set[int]:
    names = ("pad_token_id", "bos_token_id", "eos_token_id", "mask_token_id")
    values = (getattr(text, name, None) for name in names)
    lists = (value if isinstance(value, (list, tuple)) else [value] for value in values)
    return {token for tokens in lists for token in tokens if token is not None}


def _mask_token(module: nn.Module) -> int:
    """Any fixed token stands for the mask where the config does not name it."""
    value = getattr(getattr(module, "config", None), "mask_token_id", None)
    return value if isinstance(value, int) else 1


def _image_shape(module: nn.Module, config: Any) -> tuple[int, ...]:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", 224)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return (getattr(vision, "num_channels", 3), height, width)


def _spectrogram_shape(module: nn.Module, config: Any) -> tuple[int, ...]:
    frames = getattr(config, "max_source_positions", 1500) * 2
    return (getattr(config, "num_mel_bins", 80), frames)


def _wave_shape(module: nn.Module, config: Any) -> tuple[int, ...]:
    """A second of sound; or a spectrogram, where the config says how long it is."""
    if hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):
        return (config.max_length, config.num_mel_bins)
    return (16000,)


def _labels(
    module: nn.Module,
    task: Task,
    batch: dict[str, Tensor],
    hidden_size: int,
    generator: torch.Generator,
) -> Tensor:
    batch_size = next(iter(batch.values())).shape[0]
    if task == "causal_lm":
        return batch["input_ids"].clone()
    if task == "masked_lm":
        return _masked_labels(batch["input_ids"], generator)
    if task == "features":
        return torch.randn((batch_size, hidden_size), generator=generator).to(_dtype(module))
    num_labels = module.config.num_labels  # type: ignore[union-attr]
    if num_labels == 1:
        return torch.randn(batch_size, generator=generator)
    assert isinstance(num_labels, int)
    return torch.randint(num_labels, (batch_size,), generator=generator)


def _masked_labels(input_ids: Tensor, generator: torch.Generator) -> Tensor:
    """The token at the positions to be guessed, -100 elsewhere; at least one a sample."""
    chosen = torch.rand(input_ids.shape, generator=generator) < _MASKED_SHARE
    chosen[:, 0] = True
    return input_ids.masked_fill(~chosen, -100)
