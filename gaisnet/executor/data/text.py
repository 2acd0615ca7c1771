"""Data given as text: one JSON object a line, tokenised by the model's own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaisnet.errors import InputError
from gaisnet.executor.data.expect import DataFormat, Use

__all__ = ["tokenise_file"]

_INT64_END = 2**63


def tokenise_file(
    path: Path, form: DataFormat, use: Use, tokens: int | None = None
) -> dict[str, Tensor]:
    """Texts as ``input_ids`` and ``attention_mask``, and ``labels`` where lines have a ``label``.

    Args:
        path: Lines ``{"text": str, "label": int}``; either all lines have a label or none.
        form: Names the tokenizer's folder.
        use: Requests are padded on the left, so that answers follow their prompts.
        tokens: Length to pad or cut to; by default that of the longest text, at most as many
            as the model has positions.

    Raises:
        InputError: A line is malformed, or the model has no tokenizer.
    """
    texts, labels = _read_lines(path)
    tokenizer = _load_tokenizer(path, form)
    rows = [tokenizer(text)["input_ids"] for text in texts]
    width = tokens or min(max(map(len, rows)), form.max_tokens or max(map(len, rows)))
    if width == 0:
        raise InputError("no text gives any token", where=str(path), hint="give longer texts")
    side = "left" if use == "requests" else "right"
    tensors = _pad(rows, width, side, _padding_id(tokenizer))
    if labels:
        tensors["labels"] = torch.tensor(labels, dtype=torch.int64)
    return tensors


def _read_lines(path: Path) -> tuple[list[str], list[int]]:
    try:
        # Not splitlines: within JSON's text other characters that end lines may stand as they are.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"not readable as UTF-8 text: {error}", where=str(path)) from error
    records = [
        _read_line(f"{path}: line {number}", line)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    labels = [record["label"] for record in records if "label" in record]
    if not records or len(labels) not in (0, len(records)):
        raise InputError(
            f"{len(labels)} of {len(records)} lines have a label",
            where=str(path),
            hint="give at least one line, and a label on every line or on none",
        )
    return [record["text"] for record in records], labels


def _read_line(where: str, line: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", where=where) from error
    known = isinstance(record, dict) and set(record) <= {"text", "label"}
    if not known or not _is_text(record.get("text")):
        raise InputError(
            'not of the form {"text": "…", "label": 3}',
            where=where,
            hint="text is a string, label (optional) the number of a class",
        )
    label = record.get("label", 0)
    if type(label) is not int or not -_INT64_END <= label < _INT64_END:
        raise InputError(f"label is {label!r}", where=where, hint="give the number of the class")
    return record


def _is_text(value: object) -> bool:
    """Half a surrogate pair is none, though JSON can say it."""
    return isinstance(value, str) and value.encode("utf-8", "replace").decode() == value


def _load_tokenizer(path: Path, form: DataFormat) -> Any:
    from transformers import AutoTokenizer

    if form.main_input != "input_ids" or form.tokenizer is None:
        raise InputError(
            "this model has no tokenizer for text",
            where=str(path),
            hint="use a model folder that holds its tokenizer, or give tensors (.safetensors)",
        )
    try:
        return AutoTokenizer.from_pretrained(
            form.tokenizer, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"the tokenizer cannot be loaded: {error}",
            where=str(form.tokenizer),
            hint="save it there with tokenizer.save_pretrained",
        ) from error


def _padding_id(tokenizer: Any) -> int:
    """Masked out, so any id would do; GPT-2 and its like have none for padding."""
    for value in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if value is not None:
            return int(value)
    return 0


def _pad(rows: list[list[int]], width: int, side: str, padding: int) -> dict[str, Tensor]:
    ids = torch.full((len(rows), width), padding, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for n, row in enumerate(rows):
        kept = row[-width:] if side == "left" else row[:width]
        place = slice(width - len(kept), width) if side == "left" else slice(0, len(kept))
        ids[n, place], mask[n, place] = torch.tensor(kept, dtype=torch.int64), 1
    return {"input_ids": ids, "attention_mask": mask}
