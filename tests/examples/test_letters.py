"""Letters for pre-training: no digits, digit-like images, reproducible."""

from __future__ import annotations

import string

import pytest
import torch
from sklearn.datasets import load_digits

from examples.digits.letters import CLASSES, LOOKALIKES, draw_letters, ink, normalise


def test_neither_digits_nor_their_lookalikes_are_drawn() -> None:
    drawn = "".join(CLASSES)
    assert set(drawn) <= set(string.ascii_letters)
    assert set(drawn).isdisjoint("".join(LOOKALIKES.values()))
    assert sorted(LOOKALIKES) == list(string.digits)
    for lookalike in "OoDQIlZzSsGbBgq":
        assert lookalike not in drawn


def test_each_letter_is_of_one_kind() -> None:
    drawn = "".join(CLASSES)
    assert len(set(drawn)) == len(drawn)


def test_images_have_the_digits_shape_range_and_grey_levels() -> None:
    images, kinds = draw_letters(400, seed=0)
    assert images.shape == (400, 1, 8, 8)
    assert images.dtype == torch.float32
    levels = (images + 1.0) * 8.0
    assert torch.equal(levels, levels.round())
    assert levels.min() == 0.0
    assert levels.max() == 16.0
    assert set(kinds.tolist()) == set(range(len(CLASSES)))


def test_letters_fill_the_full_height_as_the_digits_do() -> None:
    images, _ = draw_letters(200, seed=1)
    inked = (images > -1.0).squeeze(1).any(2).float().mean(0)
    assert inked[0] > 0.95
    assert inked[-1] > 0.95


def test_letters_have_about_as_much_ink_as_the_digits() -> None:
    images, _ = draw_letters(400, seed=0)
    digits = normalise(torch.from_numpy(load_digits().images))
    assert images.mean().item() == pytest.approx(digits.mean().item(), abs=0.15)
    assert images.std().item() == pytest.approx(digits.std().item(), abs=0.15)


def test_the_same_seed_draws_the_same_letters() -> None:
    (first, kinds), (again, same_kinds), (other, _) = (draw_letters(20, s) for s in (5, 5, 6))
    assert torch.equal(first, again)
    assert torch.equal(kinds, same_kinds)
    assert not torch.equal(first, other)


def test_ink_is_counted_per_square() -> None:
    bitmap = torch.zeros(1, 32, 32)
    bitmap[0, :4, :4] = 1.0
    bitmap[0, 31, 28:] = 1.0
    counts = ink(bitmap)
    assert counts[0, 0, 0] == 16.0
    assert counts[0, 7, 7] == 4.0
    assert counts.sum() == 20.0


def test_normalising_maps_no_ink_to_minus_one_and_full_ink_to_one() -> None:
    assert normalise(torch.tensor([[[0, 8, 16]]])).tolist() == [[[[-1.0, 0.0, 1.0]]]]
