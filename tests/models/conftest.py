"""One thread, so that sums run in one order, and no advice from transformers."""

from __future__ import annotations

import pytest
import torch
import transformers


@pytest.fixture(autouse=True, scope="session")
def _quiet_and_single_threaded() -> None:
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
