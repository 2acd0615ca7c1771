"""One Ray engine for all tests of this folder: its processes take a while to start."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
import torch

from gaisnet.executor.engines import Engine, EngineOptions, LocalEngine, make_engine
from gaisnet.testing import DEVICES

PATIENCE = 15.0
"""These machines are busy otherwise."""


@pytest.fixture
def local_engine() -> LocalEngine:
    return LocalEngine()


@pytest.fixture(scope="session")
def ray_engine() -> Iterator[Engine]:
    torch.set_num_threads(1)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    engine = make_engine("ray", DEVICES, EngineOptions(patience=PATIENCE))
    started = [p for p in psutil.Process().children(recursive=True) if p.pid not in before]
    try:
        yield engine
    finally:
        engine.close()
        end(started)


def end(processes: list[psutil.Process]) -> None:
    """Nothing is left behind, whatever happened."""
    left = [process for process in processes if alive(process)]
    for process in left:
        process.kill()
    assert left == []


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
