"""Token recovery: which tokens a text had, read off its hidden state position by position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaisnet.profiler.leakage.inversion import MOST_COMPONENTS, MOST_ROWS, Inversion, relative_error
from gaisnet.profiler.leakage.pairs import Halves
from gaisnet.profiler.leakage.ridge import principal_components, ridge
from gaisnet.schema.leakage import Attack

__all__ = ["Recovery", "recover"]

_MOST_HELD = 1024
_CHUNK = 256


@dataclass(frozen=True)
class Recovery:
    """Shares of the held-out tokens that are told right."""

    accuracy: float
    majority: float
    """By always answering the auxiliary half's most frequent token."""
    inversion: Inversion
    """The same as a relative error."""


@dataclass(frozen=True)
class _Rows:
    """Hidden vectors of real tokens."""

    hidden: Tensor
    """``[rows, width]``, centred position by position on the auxiliary half."""
    tokens: Tensor
    """Ids, ``[rows]``."""
    sample: Tensor
    """Which sample each is of, ``[rows]``."""


def recover(
    smashed: Tensor,
    tokens: Tensor,
    real: Tensor,
    halves: Halves,
    embeddings: Tensor | None,
    seed: int,
) -> Recovery:
    """The stronger of two attacks.

    The nearest of the known hidden vectors lends its token; or a ridge regression leads back to
    the model's public table of embeddings, where the nearest row is the answer, which also finds
    tokens that the attacker never saw. The choice is made on the held-out half itself.

    Args:
        smashed: ``[samples, tokens, width]``; if longer than the text, the text stands at its end.
        tokens: Ids, ``[samples, tokens]``.
        real: Which are no padding, ``[samples, tokens]``.
        halves: Which samples teach.
        embeddings: The table, ``[vocabulary, e]``, if there is one.
        seed: Of the rows sampled where there are many.
    """
    hidden = smashed[:, smashed.shape[1] - tokens.shape[1] :].float()
    hidden = hidden - hidden[halves.auxiliary].mean(0, keepdim=True)
    known = _rows(hidden, tokens, real, halves.auxiliary, MOST_ROWS, seed)
    held = _rows(hidden, tokens, real, halves.held_out, _MOST_HELD, seed)
    answers: dict[Attack, Tensor] = {"nearest_neighbour": _nearest_known(known, held.hidden)}
    if embeddings is not None:
        answers["ridge"] = _by_embedding(known, held.hidden, embeddings.detach().float())
    guess = known.tokens.mode().values.expand_as(held.tokens)
    return _best(answers, guess, held)


def _best(answers: dict[Attack, Tensor], guess: Tensor, held: _Rows) -> Recovery:
    def right(answer: Tensor) -> float:
        return float((answer == held.tokens).double().mean())

    attack = max(answers, key=lambda name: right(answers[name]))
    wrong, guessed_wrong = (_by_sample(a != held.tokens, held) for a in (answers[attack], guess))
    error, stderr = relative_error(wrong, guessed_wrong)
    return Recovery(right(answers[attack]), right(guess), Inversion(error, stderr, attack))


def _by_sample(wrong: Tensor, held: _Rows) -> Tensor:
    return torch.bincount(held.sample, weights=wrong.double())[torch.unique(held.sample)]


def _rows(
    hidden: Tensor, tokens: Tensor, real: Tensor, samples: Tensor, most: int, seed: int
) -> _Rows:
    where = real[samples].nonzero()
    if len(where) > most:
        generator = torch.Generator().manual_seed(seed)
        where = where[torch.randperm(len(where), generator=generator)[:most]]
    sample, position = samples[where[:, 0]], where[:, 1]
    return _Rows(hidden[sample, position], tokens[sample, position], where[:, 0])


def _nearest_known(known: _Rows, held: Tensor) -> Tensor:
    """Token of the nearest known hidden vector."""
    return known.tokens[_nearest(held, known.hidden)]


def _by_embedding(known: _Rows, held: Tensor, embeddings: Tensor) -> Tensor:
    mean_hidden, wanted = known.hidden.mean(0), embeddings[known.tokens]
    rows = known.hidden - mean_hidden
    weights = ridge(rows, wanted - wanted.mean(0), principal_components(rows, MOST_COMPONENTS))
    return _nearest((held - mean_hidden) @ weights.float() + wanted.mean(0), embeddings)


def _nearest(rows: Tensor, table: Tensor) -> Tensor:
    """Number of the row of ``table`` nearest to each of ``rows``, by Euclidean distance."""
    half_squares = table.square().sum(1) / 2
    return torch.cat([(c @ table.T - half_squares).argmax(1) for c in torch.split(rows, _CHUNK)])
