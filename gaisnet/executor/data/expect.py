"""What a data file must hold for a given model, and the checks of it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gaisnet.errors import InputError
from gaisnet.models import FoundationModel
from gaisnet.schema.model import Task

__all__ = ["IGNORED_LABEL", "DataFormat", "Use", "check_tensors"]

IGNORED_LABEL = -100
"""Label of a token that is not to be learnt nor scored."""

Use = Literal["samples", "requests"]
"""``samples`` are learnt from or scored; ``requests`` are answered, and labels are optional."""

_DTYPES = (torch.float32, torch.int64)
_CLASSES: tuple[Task, ...] = (
    "sequence_classification",
    "image_classification",
    "audio_classification",
)
_TOKENS: tuple[Task, ...] = ("causal_lm", "masked_lm")


@dataclass(frozen=True, kw_only=True)
class DataFormat:
    """What a model takes and answers. ``DataFormat.of`` reads it off a loaded model."""

    task: Task
    main_input: str = "input_ids"
    """The tensor that every file must hold."""
    sample_shape: tuple[int, ...] | None = None
    """Of the main input, where the model fixes it (images and sound)."""
    vocabulary: int | None = None
    """Token ids are below it."""
    max_tokens: int | None = None
    """Positions that the model has."""
    classes: int | None = None
    """Class labels are below it."""
    accepted: frozenset[str] | None = None
    """Names of tensors that the model's ``forward`` takes."""
    tokenizer: Path | None = None
    """Folder with the tokenizer's files, for data given as text."""

    @classmethod
    def of(cls, model: FoundationModel) -> DataFormat:
        """What a loaded model takes."""
        example = model.example_inputs(1)
        main = str(getattr(model.bare, "main_input_name", "input_ids"))
        text = main == "input_ids"
        config = model.config.get_text_config(decoder=True) if text else model.config
        folder = Path(model.spec.source)
        return cls(
            task=model.task,
            main_input=main,
            sample_shape=None if text else tuple(example[main].shape[1:]),
            vocabulary=int(config.vocab_size) if text else None,
            max_tokens=_positive(getattr(config, "max_position_embeddings", None)),
            classes=int(model.config.num_labels) if model.task in _CLASSES else None,
            accepted=frozenset(inspect.signature(model.bare.forward).parameters) | {main},
            tokenizer=folder if folder.is_dir() else None,
        )


def check_tensors(path: Path, tensors: dict[str, Tensor], form: DataFormat, use: Use) -> None:
    """Refuse a file that the model would choke on.

    Raises:
        InputError: A tensor is missing, or has a wrong dtype, shape or value.
    """
    if form.main_input not in tensors:
        raise InputError(
            f"the tensor {form.main_input} is missing (found: {', '.join(sorted(tensors))})",
            where=str(path),
            hint=f"this model takes {form.main_input}; name the tensor so",
        )
    _check_names(path, tensors, form)
    samples = tensors[form.main_input].shape[:1]
    for name, tensor in tensors.items():
        _check_tensor(f"{path}: tensor {name}", tensor, samples)
    _check_main_input(f"{path}: tensor {form.main_input}", tensors[form.main_input], form)
    if "attention_mask" in tensors and form.main_input == "input_ids":
        _check_mask(f"{path}: tensor attention_mask", tensors)
    if "labels" in tensors:
        _check_labels(f"{path}: tensor labels", tensors, form, use)
    elif use == "samples":
        raise InputError(
            "the tensor labels is missing",
            where=str(path),
            hint="add the right answers under the name labels, one for each sample",
        )


def _check_names(path: Path, tensors: dict[str, Tensor], form: DataFormat) -> None:
    unknown = sorted(set(tensors) - (form.accepted or set(tensors)) - {"labels"})
    if unknown:
        raise InputError(
            f"the model does not take the tensors {', '.join(unknown)}",
            where=str(path),
            hint="remove or rename them",
        )


def _check_tensor(where: str, tensor: Tensor, samples: torch.Size) -> None:
    if tensor.dtype not in _DTYPES:
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise InputError(
            f"its dtype is {dtype}", where=where, hint="store float32 (values) or int64 (ids)"
        )
    if tensor.shape[:1] != samples or tensor.shape[:1] in ((), (0,)):
        raise InputError(
            f"its shape is {list(tensor.shape)}",
            where=where,
            hint="the first dimension counts the samples: at least one, the same in all tensors",
        )
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        row = int((~torch.isfinite(tensor)).nonzero()[0, 0])
        raise InputError(
            f"sample {row} holds NaN or infinity", where=where, hint="remove or mend the sample"
        )


def _check_main_input(where: str, tensor: Tensor, form: DataFormat) -> None:
    if form.sample_shape is not None:
        if tuple(tensor.shape[1:]) != form.sample_shape:
            raise InputError(
                f"a sample's shape is {list(tensor.shape[1:])}",
                where=where,
                hint=f"this model takes {list(form.sample_shape)}; resize the samples",
            )
        if not tensor.is_floating_point():
            raise InputError("its dtype is int64", where=where, hint="store float32 values")
        return
    _check_tokens(where, tensor, form)


def _check_tokens(where: str, tensor: Tensor, form: DataFormat) -> None:
    if tensor.dtype != torch.int64 or tensor.ndim != 2:
        raise InputError(
            f"its shape is {list(tensor.shape)} and its dtype {tensor.dtype}",
            where=where,
            hint="token ids are int64 [samples, tokens]",
        )
    if form.max_tokens is not None and tensor.shape[1] > form.max_tokens:
        raise InputError(
            f"samples have {tensor.shape[1]} tokens",
            where=where,
            hint=f"this model has {form.max_tokens} positions; shorten the samples",
        )
    _check_range(where, tensor, form.vocabulary, "token id")


def _check_mask(where: str, tensors: dict[str, Tensor]) -> None:
    mask = tensors["attention_mask"]
    fits = mask.shape == tensors["input_ids"].shape and bool(((mask == 0) | (mask == 1)).all())
    if not fits or not bool(mask.any(1).all()):
        raise InputError(
            f"its shape is {list(mask.shape)}, or a value is neither 0 nor 1, or a sample is "
            "masked altogether",
            where=where,
            hint="give a 1 for each token and a 0 for padding, and some token in every sample",
        )


def _check_labels(where: str, tensors: dict[str, Tensor], form: DataFormat, use: Use) -> None:
    labels, samples = tensors["labels"], len(tensors[form.main_input])
    if form.task in _TOKENS:
        answered = use == "requests" and labels.ndim == 2
        shape = tuple(labels.shape) if answered else tuple(tensors[form.main_input].shape)
        _check_shape(where, labels, shape, torch.int64)
        _check_range(where, labels[labels != IGNORED_LABEL], form.vocabulary, "label")
    elif form.task in _CLASSES and labels.dtype == torch.int64:
        _check_shape(where, labels, (samples,), torch.int64)
        _check_range(where, labels, form.classes, "label")
    elif form.task in _CLASSES and form.classes is not None:
        several = (samples, form.classes) if form.classes > 1 else (samples,)
        _check_shape(where, labels, several, torch.float32)


def _check_shape(where: str, tensor: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(tensor.shape) != shape or tensor.dtype != dtype:
        raise InputError(
            f"labels are {tensor.dtype} {list(tensor.shape)}",
            where=where,
            hint=f"this model's task needs {dtype} {list(shape)}",
        )


def _check_range(where: str, values: Tensor, end: int | None, what: str) -> None:
    if end is None or values.numel() == 0:
        return
    for extreme in (int(values.min()), int(values.max())):
        if not 0 <= extreme < end:
            raise InputError(
                f"{what} {extreme} is out of range",
                where=where,
                hint=f"this model knows 0 to {end - 1}",
            )


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and value > 0 else None
