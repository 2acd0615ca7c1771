"""A foundation model that takes a second to pre-train, for all tests of the example."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.digits.pretrain import Recipe

TINY = Recipe(hidden_size=32, layers=3, intermediate_size=64, letters=1500, epochs=2, batch_size=32)


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """Fewer and thinner layers than the demo's, and few letters."""
    return TINY


@pytest.fixture(scope="session")
def letters_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of pre-trained models that is not the user's."""
    return tmp_path_factory.mktemp("cache")
