"""One small job for all cells, and what it gives on the embedded engine."""

from __future__ import annotations

import pytest

from tests.executor.engines.faults.stage import Job


@pytest.fixture(scope="session")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return Job(tmp_path_factory.mktemp("matrix"))
