"""Every cell of the matrix that can occur is tried on Ray, one of every fault whenever Ray is."""

from __future__ import annotations

from tests.executor.engines.faults import (
    test_bad_frames,
    test_full_disk,
    test_lost_devices,
)
from tests.executor.engines.faults.sample import SAMPLE
from tests.executor.faults.matrix import FAULTS, Cell, cells, reason_of

DRIVEN = ("kill", "disconnect", "freeze", "slow")


def test_every_cell_that_can_occur_is_tried_on_ray_once():
    modules = (test_lost_devices, test_bad_frames, test_full_disk)
    tried = [cell for module in modules for cell in params(module)]
    tried += [c for c in cells() if c.role == "driver" and c.fault in DRIVEN]
    assert sorted(tried) == sorted(c for c in cells() if reason_of(c) is None)


def params(module: object) -> list[Cell]:
    """Of all tests of a module."""
    marks = [m for each in vars(module).values() for m in getattr(each, "pytestmark", [])]
    return [value.values[0] for m in marks if m.name == "parametrize" for value in m.args[1]]


def test_the_sample_has_one_cell_of_every_fault_and_they_can_occur():
    assert sorted(cell.fault for cell in SAMPLE) == sorted(FAULTS)
    assert all(reason_of(cell) is None for cell in SAMPLE)
