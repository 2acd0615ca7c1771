"""The data sample that leakage is measured on: a safetensors file as runs take it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gaisnet.errors import InputError
from gaisnet.models import FoundationModel
from gaisnet.models.inputs import text_config
from gaisnet.schema.files import check_readable

__all__ = ["LEAST_SAMPLES", "DataSample", "read_sample"]

LEAST_SAMPLES = 8
"""With fewer, halves are too small to teach or test an attack."""
_DTYPES = (torch.float32, torch.int64)


@dataclass(frozen=True)
class DataSample:
    """Samples in memory."""

    inputs: Mapping[str, Tensor]
    """What the model's ``forward`` takes, each ``[samples, …]``."""
    raw_name: str
    """Which of them is the raw input."""
    labels: Tensor | None = None
    """``[samples, …]``."""

    def __len__(self) -> int:
        return int(self.raw.shape[0])

    @property
    def raw(self) -> Tensor:
        """The raw input, ``[samples, …]``."""
        return self.inputs[self.raw_name]


def read_sample(path: Path, model: FoundationModel, most: int) -> DataSample:
    """Reads the first samples of a file and checks that the model can take them.

    Args:
        path: A safetensors file with the model's input tensors and, optionally, ``labels``.
        model: On any device, also meta.
        most: How many samples to read at most.

    Raises:
        InputError: The file is missing, malformed, or not what the model takes.
    """
    tensors = _read(path, most)
    raw_name = str(getattr(model.bare, "main_input_name", "input_ids"))
    accepted = set(inspect.signature(model.bare.forward).parameters) | {"labels"}
    if raw_name not in tensors or not set(tensors) <= accepted:
        raise InputError(
            f"it holds {', '.join(sorted(tensors))}, but this model takes {raw_name} and labels",
            where=str(path),
            hint="give a safetensors file as the fleet's devices have it",
        )
    _check(path, tensors, raw_name)
    _check_raw(f"{path}: tensor {raw_name}", tensors[raw_name], model)
    labels = tensors.pop("labels", None)
    _check_labels(f"{path}: tensor labels", labels, model)
    return DataSample(tensors, raw_name, labels)


def _read(path: Path, most: int) -> dict[str, Tensor]:
    check_readable(path, hint="correct --data")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: _first(file, name, most) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"not a readable safetensors file: {error}",
            where=str(path),
            hint="write it with safetensors.torch.save_file",
        ) from error


def _first(file: Any, name: str, most: int) -> Tensor:
    part = file.get_slice(name)
    rows: Tensor = part[:most] if part.get_shape() else file.get_tensor(name)
    return rows


def _check(path: Path, tensors: Mapping[str, Tensor], raw_name: str) -> None:
    samples = tensors[raw_name].shape[:1]
    for name, tensor in tensors.items():
        where = f"{path}: tensor {name}"
        if tensor.dtype not in _DTYPES:
            dtype = str(tensor.dtype).removeprefix("torch.")
            raise InputError(f"its dtype is {dtype}", where=where, hint="store float32 or int64")
        if tensor.shape[:1] != samples:
            raise InputError(
                f"its shape is {list(tensor.shape)}",
                where=where,
                hint=f"the first dimension counts the samples: here {list(samples)}",
            )
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError("it holds NaN or infinity", where=where, hint="mend the sample")
    if not samples or samples[0] < LEAST_SAMPLES:
        raise InputError(
            f"{samples[0] if samples else 0} samples are too few to measure leakage",
            where=str(path),
            hint=f"give at least {LEAST_SAMPLES}, better 100",
        )


def _check_raw(where: str, raw: Tensor, model: FoundationModel) -> None:
    if raw.dtype == torch.int64:
        config = text_config(model.config)
        vocabulary = getattr(config, "vocab_size", None)
        low, high = int(raw.min()), int(raw.max())
        if raw.dim() != 2 or low < 0 or (vocabulary is not None and high >= vocabulary):
            raise InputError(
                f"its shape is {list(raw.shape)}, its values {low} to {high}",
                where=where,
                hint=f"token ids are [samples, tokens], from 0 to below {vocabulary}",
            )
        return
    wanted = model.example_inputs(1)[str(model.bare.main_input_name)].shape[1:]
    if raw.shape[1:] != wanted:
        raise InputError(
            f"a sample's shape is {list(raw.shape[1:])}",
            where=where,
            hint=f"this model takes {list(wanted)}",
        )


def _check_labels(where: str, labels: Tensor | None, model: FoundationModel) -> None:
    if labels is None or labels.dim() != 1 or labels.is_floating_point():
        return
    classes = int(model.config.num_labels)
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InputError(
            f"its values are {int(labels.min())} to {int(labels.max())}",
            where=where,
            hint=f"this model has {classes} classes; give --num-labels",
        )
