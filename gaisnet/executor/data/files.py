"""Read a data file: tensors (``.safetensors``) or text (``.jsonl``)."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gaisnet.errors import InputError
from gaisnet.executor.data.expect import IGNORED_LABEL, DataFormat, Use, check_tensors
from gaisnet.executor.data.shard import Shard
from gaisnet.executor.data.text import tokenise_file
from gaisnet.schema.files import check_readable

__all__ = ["load_shard"]


def load_shard(
    path: Path,
    name: str,
    form: DataFormat,
    *,
    use: Use = "samples",
    samples: int | None = None,
    tokens: int | None = None,
) -> Shard:
    """Read and check the data of one device, of an evaluation, or of a service.

    Args:
        path: A safetensors file with the model's input tensors and, optionally, ``labels``; or
            a JSON-lines file with ``{"text": …, "label": …}``, tokenised by the model's own
            tokenizer.
        name: Of the device or service.
        form: What the model takes.
        use: ``samples`` need labels (a causal language model's are the text itself, if none
            are given); of ``requests`` they are optional, and text is padded on the left.
        samples: How many there must be (what the fleet says), if known.
        tokens: Length to which text is padded or cut; by default that of the longest text.

    Raises:
        InputError: The file is missing, malformed, or not what the model takes.
    """
    tensors = _read(path, form, use, tokens)
    if use == "samples" and form.task == "causal_lm" and "labels" not in tensors:
        _label_with_itself(tensors)
    check_tensors(path, tensors, form, use)
    labels = tensors.pop("labels", None)
    shard = Shard(name, tensors, labels)
    if samples is not None and len(shard) != samples:
        raise InputError(
            f"holds {len(shard)} samples, but the fleet says {samples} for {name}",
            where=str(path),
            hint="correct the device's data.samples, or its file",
        )
    return shard


def _read(path: Path, form: DataFormat, use: Use, tokens: int | None) -> dict[str, Tensor]:
    check_readable(path, hint="correct the data's path")
    if path.suffix == ".jsonl":
        return tokenise_file(path, form, use, tokens)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"not a readable safetensors file: {error}",
            where=str(path),
            hint="write it with safetensors.torch.save_file, or give text as .jsonl",
        ) from error
    return tensors


def _label_with_itself(tensors: dict[str, Tensor]) -> None:
    """A causal language model learns its own text; padding does not count."""
    if "input_ids" not in tensors:
        return
    labels, mask = tensors["input_ids"].clone(), tensors.get("attention_mask")
    if mask is not None and mask.shape == labels.shape:
        labels = labels.masked_fill(mask == 0, IGNORED_LABEL)
    tensors["labels"] = labels
