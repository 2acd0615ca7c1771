"""Inversion: how much of the raw inputs a decoder gets back from the smashed data.

He, Zhang, Lee, "Model inversion attacks against collaborative inference", ACSAC 2019, section 4.3
(the black-box attack): the attacker has inputs of the same kind and what the model makes of them,
trains a decoder on those, and reads others' smashed data with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaisnet.profiler.leakage.mlp import mlp
from gaisnet.profiler.leakage.pairs import Halves, Pairs, position_pairs, whole_pairs
from gaisnet.profiler.leakage.ridge import principal_components, ridge
from gaisnet.schema.leakage import Attack

__all__ = ["MOST_COMPONENTS", "MOST_ROWS", "Inversion", "invert", "relative_error"]

MOST_ROWS = 4096
"""Rows that an attack learns from; more are sampled down."""
MOST_COMPONENTS = 1024
"""Principal components of the features that the ridge regression sees."""


@dataclass(frozen=True)
class Inversion:
    """How well an attack did on the held-out half."""

    error: float
    """Its error over that of guessing: 0 everything leaks, 1 nothing."""
    stderr: float
    attack: Attack


def invert(smashed: Tensor, inputs: Tensor, halves: Halves, seed: int) -> Inversion:
    """The strongest of three attacks: ridge regression of the whole, ridge regression and a small
    network position by position (of the whole where there are no positions).

    The choice is made on the held-out half itself, so it errs towards a stronger attacker.

    Args:
        smashed: ``[samples, …]``.
        inputs: Raw inputs of the same samples, ``[samples, …]``, not tokens.
        halves: Which samples teach.
        seed: Of the rows sampled and of the network.
    """
    by_position = position_pairs(smashed, inputs, halves)
    found = _attack(
        whole_pairs(smashed, inputs, halves), "ridge", seed, network=by_position is None
    )
    if by_position is not None:
        found += _attack(_fewer(by_position, seed), "position_ridge", seed, network=True)
    return min(found, key=lambda attack: attack.error)


def relative_error(attacked: Tensor, guessed: Tensor) -> tuple[float, float]:
    """The ratio of two sums over samples, and its standard error by linearisation.

    Args:
        attacked: Error of each held-out sample under the attack, ``[samples]``.
        guessed: The same for guessing; if that makes none there is nothing to leak.
    """
    total = float(guessed.sum())
    if not total > 0:
        return 1.0, 0.0
    ratio = float(attacked.sum()) / total
    scatter = (attacked - ratio * guessed).double().square().sum()
    correction = len(guessed) / max(1, len(guessed) - 1)
    return ratio, float((scatter * correction).sqrt()) / total


def _attack(pairs: Pairs, name: Attack, seed: int, *, network: bool) -> list[Inversion]:
    components = principal_components(pairs.features, MOST_COMPONENTS)
    if not len(components.eigenvalues):
        return [Inversion(*_scored(pairs, torch.zeros_like(pairs.held_targets)), name)]
    weights = ridge(pairs.features, pairs.targets, components).float()
    found = [Inversion(*_scored(pairs, pairs.held_features @ weights), name)]
    wanted = principal_components(pairs.targets, MOST_COMPONENTS)
    if network and len(wanted.eigenvalues):
        answer = mlp(pairs.features, pairs.targets, pairs.held_features, components, wanted, seed)
        found.append(Inversion(*_scored(pairs, answer), "mlp"))
    return found


def _scored(pairs: Pairs, answer: Tensor) -> tuple[float, float]:
    def by_sample(errors: Tensor) -> Tensor:
        return errors.double().square().sum(1).reshape(pairs.held_samples, -1).sum(1)

    return relative_error(by_sample(pairs.held_targets - answer), by_sample(pairs.held_targets))


def _fewer(pairs: Pairs, seed: int) -> Pairs:
    if len(pairs.features) <= MOST_ROWS:
        return pairs
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(pairs.features), generator=generator)[:MOST_ROWS]
    held = (pairs.held_features, pairs.held_targets, pairs.held_samples)
    return Pairs(pairs.features[rows], pairs.targets[rows], *held)
