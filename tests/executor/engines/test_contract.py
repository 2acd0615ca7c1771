"""The contract that ships with the package, over every engine."""

from __future__ import annotations

import pytest

from gaisnet.executor.engines import Engine, LocalEngine
from gaisnet.testing import EngineContract, RunContract

# Five processes that import torch, on a busy machine.
pytestmark = [pytest.mark.smoke, pytest.mark.timeout(900)]


class TestLocalEngine(EngineContract):
    @pytest.fixture
    def engine(self, local_engine: LocalEngine) -> Engine:
        return local_engine


class TestRayEngine(EngineContract):
    @pytest.fixture
    def engine(self, ray_engine: Engine) -> Engine:
        return ray_engine


class TestRunsOnRay(RunContract):
    @pytest.fixture
    def engine(self, ray_engine: Engine) -> Engine:
        return ray_engine
