"""One Ray engine for all tests of this folder: its processes take a while to start."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
import torch

from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.engines import Address, Engine, LocalEngine
from gaisnet.executor.probe import PROBE
from gaisnet.testing import DEVICES

SILENCE_S = 8.0
"""These machines are busy otherwise."""


@pytest.fixture
def local_engine() -> LocalEngine:
    return LocalEngine()


@pytest.fixture
def ray_engine(shared_engine: Engine) -> Engine:
    """All its devices are there, whatever was done to them in the test before."""
    for device in sorted(shared_engine.watch()):
        shared_engine.place(Address(device, PROBE), ProbeBlueprint(device=device, run="heal"))
    shared_engine.settle()
    return shared_engine


@pytest.fixture(scope="session")
def shared_engine() -> Iterator[Engine]:
    """Its devices can be told to strike themselves; until then they do what all devices do."""
    from gaisnet.nodes.settings import prepare

    prepare(private=True)
    from gaisnet.executor.engines.ray.engine import RayEngine
    from gaisnet.executor.engines.ray.patience import Patience
    from tests.executor.engines.faults.struck import StruckProcess

    torch.set_num_threads(1)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    engine = RayEngine(DEVICES, patience=Patience(SILENCE_S), process=StruckProcess)
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
