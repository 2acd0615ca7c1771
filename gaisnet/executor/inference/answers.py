"""From logits to answers, and how many of them are right."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaisnet.schema.model import Task

__all__ = ["Score", "answers_of", "next_tokens", "score", "score_continuations"]

_IGNORED_LABEL = -100


@dataclass(frozen=True, slots=True)
class Score:
    """Right answers out of how many; ``hits`` is ``None`` where the task has no right or wrong."""

    hits: int | None
    count: int


def answers_of(task: Task, logits: Tensor) -> Tensor:
    """What a request without generation gets.

    Args:
        task: What the head answers.
        logits: ``[batch, classes]``, or ``[batch, tokens, vocabulary]`` for language models, or
            hidden states ``[batch, ..., width]`` for features.

    Returns:
        Classes ``[batch]`` or the likeliest tokens ``[batch, tokens]``, int64; values
        ``[batch, 1]`` where the head has one output; mean features ``[batch, width]``.
    """
    if task == "features":
        return logits.flatten(1, -2).mean(1) if logits.ndim > 2 else logits
    return logits if logits.shape[-1] == 1 else logits.argmax(-1)


def next_tokens(logits: Tensor) -> Tensor:
    """The likeliest token after the last one ``[batch]``, of ``[batch, tokens, vocabulary]``."""
    return logits[:, -1].float().argmax(-1)


def score(task: Task, answers: Tensor, labels: Tensor) -> Score:
    """Count right answers of a batch.

    Args:
        task: What the head answers.
        answers: The likeliest class ``[batch]`` or token at each place ``[batch, tokens]``.
        labels: Of the same shape, with -100 where a token does not count. A causal model's
            answer at a token is held against the next token's label.
    """
    if answers.shape != labels.shape or labels.dtype != torch.int64:
        return Score(None, len(labels))
    if task == "causal_lm":
        answers, labels = answers[:, :-1], labels[:, 1:]
    counted = labels != _IGNORED_LABEL
    return Score(int(((answers == labels) & counted).sum()), int(counted.sum()))


def score_continuations(new_tokens: Tensor, labels: Tensor) -> Score:
    """Tokens that equal the wanted continuation.

    Args:
        new_tokens: ``[batch, generated]``.
        labels: ``[batch, wanted]``; -100 does not count, a token not generated is wrong.
    """
    counted = labels != _IGNORED_LABEL
    width = min(new_tokens.shape[1], labels.shape[1])
    hits = (new_tokens[:, :width] == labels[:, :width]) & counted[:, :width]
    return Score(int(hits.sum()), int(counted.sum()))
