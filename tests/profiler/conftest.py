"""One thread, so that counts and sums do not depend on the machine."""

from __future__ import annotations

import pytest
import torch
import transformers


@pytest.fixture(autouse=True, scope="session")
def _quiet_and_single_threaded() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> object:
    """Where the configurations of small models are written."""
    return tmp_path_factory.mktemp("configurations")
