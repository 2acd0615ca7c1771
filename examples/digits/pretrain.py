"""The foundation model: a small vision transformer, pre-trained on letters and kept in a cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
import torch
import transformers
from transformers import ViTConfig, ViTForImageClassification

from examples.digits import letters

__all__ = ["RECIPE", "Recipe", "pretrained_folder", "write_foundation_model"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that the pre-trained weights depend on; its hash names the cache entry."""

    hidden_size: int = 64
    layers: int = 5
    attention_heads: int = 4
    intermediate_size: int = 256
    initializer_range: float = 0.1
    """With transformers' default of 0.02 so small a ViT hardly learns from so few images."""
    letters: int = 12_000
    epochs: int = 3
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0

    def config(self, classes: int) -> ViTConfig:
        """The transformer: 8×8 grey pixels in 2×2 patches."""
        return ViTConfig(
            hidden_size=self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.attention_heads,
            intermediate_size=self.intermediate_size,
            initializer_range=self.initializer_range,
            image_size=8,
            patch_size=2,
            num_channels=1,
            num_labels=classes,
        )

    def digest(self) -> str:
        """Hash of the recipe and of how letters are drawn."""
        drawing = Path(letters.__file__).read_bytes()
        values = json.dumps(dataclasses.asdict(self), sort_keys=True).encode()
        return hashlib.sha256(values + drawing).hexdigest()[:16]


RECIPE = Recipe()


def pretrained_folder(recipe: Recipe = RECIPE, cache: Path | None = None) -> Path:
    """The folder of the model that knows letters; trained now if the cache has it not.

    Args:
        recipe: What to train, and how.
        cache: Where to keep it; by default the user's cache folder.
    """
    shelf = cache or platformdirs.user_cache_path("gaisnet") / "digits"
    folder = shelf / f"letters-vit-{recipe.digest()}"
    if not folder.is_dir():
        shelf.mkdir(parents=True, exist_ok=True)
        _keep(_pretrain(recipe), folder)
    return folder


def write_foundation_model(source: Path, target: Path, *, classes: int = 10, seed: int = 0) -> None:
    """Copy a pre-trained model with a new, untrained head for ``classes`` classes."""
    transformers.utils.logging.disable_progress_bar()
    model = ViTForImageClassification.from_pretrained(source)
    config = model.config
    head = torch.nn.Linear(config.hidden_size, classes)
    generator = torch.Generator().manual_seed(seed)
    torch.nn.init.normal_(head.weight, std=config.initializer_range, generator=generator)
    torch.nn.init.zeros_(head.bias)
    model.classifier, config.num_labels = head, classes
    model.save_pretrained(target)


def _pretrain(recipe: Recipe) -> ViTForImageClassification:
    """AdamW with a one-cycle learning rate."""
    images, kinds = letters.draw_letters(recipe.letters, recipe.seed)
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = ViTForImageClassification(recipe.config(len(letters.CLASSES)))
        steps = recipe.epochs * (len(images) // recipe.batch_size)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.15
        )
        model.train()
        for rows in _batches(recipe, len(images)):
            loss = model(pixel_values=images[rows], labels=kinds[rows]).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    """On matrices this small a second thread gains little, and costs much where cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batches(recipe: Recipe, images: int) -> list[torch.Tensor]:
    size = recipe.batch_size
    orders = [torch.randperm(images) for _ in range(recipe.epochs)]
    starts = range(0, images // size * size, size)
    return [order[start : start + size] for order in orders for start in starts]


def _keep(model: ViTForImageClassification, folder: Path) -> None:
    """Put the model in its place in one step, so that no reader sees half of it."""
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        model.save_pretrained(Path(scratch) / "model")
        try:
            os.replace(Path(scratch) / "model", folder)
        except OSError:
            # Another process trained the same meanwhile; only then is there a model already.
            if not folder.is_dir():
                raise
