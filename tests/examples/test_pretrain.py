"""The pre-trained model: learnt from letters, cached by recipe, given a new head."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from transformers import ViTForImageClassification

from examples.digits.letters import CLASSES, draw_letters
from examples.digits.pretrain import (
    RECIPE,
    Recipe,
    pretrained_folder,
    write_foundation_model,
)


def test_it_has_learnt_letters_and_is_kept(tiny_recipe: Recipe, letters_cache: Path) -> None:
    folder = pretrained_folder(tiny_recipe, letters_cache)
    model = ViTForImageClassification.from_pretrained(folder)
    images, kinds = draw_letters(300, seed=99)
    with torch.no_grad():
        right = model(pixel_values=images).logits.argmax(1) == kinds
    assert right.float().mean() > 3.0 / len(CLASSES)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert pretrained_folder(tiny_recipe, letters_cache) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert [p.name for p in letters_cache.iterdir()] == [folder.name], "nothing half-made is left"


def test_each_recipe_has_its_own_place_in_the_cache(tiny_recipe: Recipe) -> None:
    others = [
        dataclasses.replace(tiny_recipe, seed=1),
        dataclasses.replace(tiny_recipe, epochs=3),
        RECIPE,
    ]
    assert len({recipe.digest() for recipe in [tiny_recipe, *others]}) == 4


def test_the_demos_model_has_a_quarter_of_a_million_parameters() -> None:
    model = ViTForImageClassification(RECIPE.config(10))
    assert 200_000 <= model.num_parameters() <= 300_000


def test_the_new_head_replaces_the_letters_and_nothing_else(
    tiny_recipe: Recipe, letters_cache: Path, tmp_path: Path
) -> None:
    source = pretrained_folder(tiny_recipe, letters_cache)
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        write_foundation_model(source, tmp_path / name, classes=10, seed=seed)
    old, first, again, other = (
        ViTForImageClassification.from_pretrained(folder).state_dict()
        for folder in (source, tmp_path / "first", tmp_path / "again", tmp_path / "other")
    )
    body = [name for name in old if not name.startswith("classifier")]
    assert all(torch.equal(old[name], first[name]) for name in body)
    assert first["classifier.weight"].shape == (10, tiny_recipe.hidden_size)
    assert torch.equal(first["classifier.weight"], again["classifier.weight"])
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
