"""Shares of labelled data: complete, reproducible, and as skewed as asked for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.digits.partition import dirichlet_shares

LABELS = np.repeat(np.arange(10), 60)


def histograms(alpha: float, seed: int) -> np.ndarray:
    shares = dirichlet_shares(LABELS, 6, alpha=alpha, seed=seed)
    return np.array([np.bincount(LABELS[rows], minlength=10) for rows in shares])


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=40, max_size=120),
    shares=st.integers(1, 6),
    alpha=st.sampled_from([0.01, 0.1, 1.0, 100.0, math.inf]),
    seed=st.integers(0, 1000),
)
def test_every_sample_is_in_exactly_one_share(
    labels: list[int], shares: int, alpha: float, seed: int
) -> None:
    dealt = dirichlet_shares(np.array(labels), shares, alpha=alpha, seed=seed, least=3)
    assert sorted(np.concatenate(dealt).tolist()) == list(range(len(labels)))
    assert len(dealt) == shares
    assert min(map(len, dealt)) >= 3


def test_the_same_seed_deals_the_same_and_another_seed_differently() -> None:
    first, again, other = (dirichlet_shares(LABELS, 6, alpha=0.5, seed=s) for s in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_infinite_alpha_gives_all_owners_the_same_labels() -> None:
    counts = histograms(math.inf, seed=0)
    assert counts.min() == counts.max() == 10


def test_uneven_classes_are_dealt_to_within_one_sample_at_infinite_alpha() -> None:
    labels = np.repeat([0, 1], [63, 47])
    shares = dirichlet_shares(labels, 5, alpha=math.inf, seed=1, least=1)
    counts = np.array([np.bincount(labels[rows], minlength=2) for rows in shares])
    assert (counts.max(0) - counts.min(0)).max() <= 1


def test_large_alpha_is_near_the_even_deal() -> None:
    counts = histograms(1e6, seed=0)
    assert abs(counts - 10).max() <= 1


def test_small_alpha_leaves_owners_few_classes() -> None:
    def classes_of_an_owner(alpha: float) -> float:
        return float(np.mean([(histograms(alpha, seed) >= 3).sum(1).mean() for seed in range(8)]))

    assert classes_of_an_owner(0.1) < 4.0 < 9.0 < classes_of_an_owner(100.0)


def test_it_refuses_what_cannot_be_dealt() -> None:
    with pytest.raises(ValueError, match="alpha must be positive"):
        dirichlet_shares(LABELS, 4, alpha=0.0, seed=0)
    with pytest.raises(ValueError, match="alpha must be positive"):
        dirichlet_shares(LABELS, 4, alpha=math.nan, seed=0)
    with pytest.raises(ValueError, match="600 samples do not give 50 owners 16 each"):
        dirichlet_shares(LABELS, 50, alpha=1.0, seed=0)
