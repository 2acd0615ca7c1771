"""The losses that transformers' own models compute, as functions of logits and labels.

The last stage of a split has logits and labels but not the whole model's ``forward(labels=...)``.
Each function reproduces that loss bit for bit. (A causal model's loss is that of the next token;
the rare ones that leave the shift of labels to the caller are treated alike.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gaisnet.schema.model import Task

__all__ = ["task_loss"]

_IGNORED = -100
"""Label of a position that does not count."""


def task_loss(task: Task, config: Any, logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of a batch.

    Args:
        task: What the head answers.
        config: The model's configuration (``num_labels`` and ``problem_type`` are read).
        logits: causal and masked LM ``[batch, tokens, vocabulary]``; classification
            ``[batch, classes]``; features ``[batch, ..., width]``.
        labels: token ids ``[batch, tokens]`` (-100 does not count); class ids ``[batch]``, or
            values for regression, or 0/1 per class; for features the wanted mean over all
            positions, ``[batch, width]``.
    """
    if task == "causal_lm":
        return _next_token(logits, labels)
    if task == "masked_lm":
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), labels.view(-1))
    if task == "features":
        return F.mse_loss(logits.flatten(1, -2).mean(1), labels)
    return _classification(config, logits, labels)


def _next_token(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each position against the next label, in float32."""
    following = F.pad(labels, (0, 1), value=_IGNORED)[..., 1:].contiguous()
    flat = logits.float().view(-1, logits.shape[-1])
    return F.cross_entropy(flat, following.view(-1), ignore_index=_IGNORED)


def _classification(config: Any, logits: Tensor, labels: Tensor) -> Tensor:
    """Regression, one class, or several classes, as transformers decides it."""
    kind = getattr(config, "problem_type", None) or _problem_type(config.num_labels, labels)
    if kind == "regression":
        if config.num_labels == 1:
            return F.mse_loss(logits.squeeze(), labels.squeeze())
        return F.mse_loss(logits, labels)
    if kind == "single_label_classification":
        return F.cross_entropy(logits.view(-1, config.num_labels), labels.view(-1))
    return F.binary_cross_entropy_with_logits(logits, labels)


def _problem_type(num_labels: int, labels: Tensor) -> str:
    if num_labels == 1:
        return "regression"
    if labels.dtype in (torch.long, torch.int):
        return "single_label_classification"
    return "multi_label_classification"
