"""AUC by counting pairs, and gradients that were made to tell all or nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gaisnet.profiler.leakage.labels import auc, label_auc_by_cosine, label_auc_by_norm

LABELS = torch.arange(60) % 3


def noise(seed: int = 0) -> Tensor:
    return torch.randn(60, 4, 5, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=20))
def test_auc_counts_pairs_won_and_half_of_the_ties(samples: list[tuple[int, bool]]) -> None:
    above = [score for score, positive in samples if positive]
    below = [score for score, positive in samples if not positive]
    if not above or not below:
        return
    won = sum((a > b) + 0.5 * (a == b) for a in above for b in below)
    scores, positive = map(torch.tensor, zip(*samples, strict=True))
    assert float(auc(scores, positive)) == pytest.approx(won / (len(above) * len(below)))


def test_norms_that_differ_by_class_tell_two_classes_apart_wholly() -> None:
    labels = LABELS % 2
    directions = noise().flatten(1)
    gradients = directions / directions.norm(dim=1, keepdim=True) * (1 + labels[:, None])
    assert label_auc_by_norm(gradients, labels) == 1
    assert label_auc_by_norm(-gradients, 1 - labels) == 1
    cosine = label_auc_by_cosine(gradients, labels)
    assert cosine == pytest.approx(0.5, abs=0.05)


def test_directions_that_differ_by_class_tell_all_classes_apart_wholly() -> None:
    gradients = torch.eye(3)[LABELS]
    assert label_auc_by_cosine(gradients, LABELS) == pytest.approx(1)
    assert label_auc_by_norm(gradients, LABELS) == 0.5


def test_gradients_without_labels_in_them_tell_nothing() -> None:
    assert label_auc_by_cosine(noise(), LABELS) == pytest.approx(0.5, abs=0.05)
    assert label_auc_by_norm(noise(), LABELS) == pytest.approx(0.5, abs=0.12)
    assert label_auc_by_cosine(torch.ones(60, 2), LABELS) == pytest.approx(0.5)
    assert label_auc_by_cosine(torch.zeros(60, 2), LABELS) == pytest.approx(0.5)


def test_a_hint_is_not_among_those_to_be_told_apart() -> None:
    """With two samples a class, opposite to each other, every hint misleads."""
    gradients = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    assert label_auc_by_cosine(gradients, torch.tensor([0, 0, 1, 1])) == 0


def test_one_class_alone_has_nothing_to_tell() -> None:
    assert label_auc_by_norm(noise(), torch.zeros(60).long()) is None
    assert label_auc_by_cosine(noise(), torch.zeros(60).long()) is None
    assert label_auc_by_cosine(noise()[:2], torch.tensor([0, 1])) is None
