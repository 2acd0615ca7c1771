"""A calibration step, and models too large to be timed here. Nothing here asserts speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaisnet.errors import ModelError
from gaisnet.extrapolation import extrapolate, step_s
from gaisnet.profiler import calibration_step, make_profile, profile_model
from gaisnet.profiler.device_memory import MemoryLimit
from tests.extrapolation.synthetic import make_device

from .small import TUNABLES, spec_of


def test_a_step_belongs_to_the_profile_of_the_same_model(folder: Path) -> None:
    spec, tunable = spec_of("gpt2", folder), TUNABLES["lora"]
    step = calibration_step(spec, tunable, batch_size=3, tokens=16, device="cpu")
    part = profile_model(spec, tunable, times=False, tokens=16)
    assert (step.batch_size, step.tokens) == (3, 16)
    assert step.step.samples == step.step_cpu.samples >= 3
    made = extrapolate(part, make_device(), step=step)
    taken_s = min(step.step.expected_s, step.step_cpu.expected_s)
    assert step_s(made, 3) == pytest.approx(taken_s)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that cannot hold even a small model."""
    limit = MemoryLimit(limit_bytes=1000, source="meminfo")
    monkeypatch.setattr("gaisnet.profiler.affordable.memory_limit", lambda: limit)
    monkeypatch.setattr("gaisnet.profiler.calibrate.memory_limit", lambda: limit)


@pytest.mark.usefixtures("little_memory")
def test_a_model_that_does_not_fit_has_marked_times_of_the_devices_figures(folder: Path) -> None:
    spec, here = spec_of("llama", folder), make_device("here")
    part = profile_model(spec, TUNABLES["lora"], batch_sizes=(1, 8), device="cpu", figures=here)
    assert part.extrapolation is not None
    assert (part.extrapolation.device, part.extrapolation.method) == ("here", "modelled")
    assert [t.batch_size for t in part.units[0].timings] == [1, 8]
    assert all(t.origin == "extrapolated" for unit in part.units for t in unit.timings)
    assert any("extrapolated, not measured" in warning for warning in part.warnings)
    counted = profile_model(spec, TUNABLES["lora"], times=False)
    expected = extrapolate(counted, here, batch_sizes=(1, 8))
    assert part.units == expected.units


@pytest.mark.usefixtures("little_memory")
def test_without_figures_it_stays_untimed_and_says_so(folder: Path) -> None:
    made = make_profile(
        spec_of("llama", folder), TUNABLES["lora"], measure_device=False, device="cpu"
    )
    assert made.model is not None
    assert made.model.extrapolation is None
    assert not any(unit.timings for unit in made.model.units)
    assert any("not timed: it needs" in warning for warning in made.model.warnings)


@pytest.mark.usefixtures("little_memory")
def test_a_step_of_a_model_that_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="weights take"):
        calibration_step(spec_of("llama", folder), TUNABLES["lora"], device="cpu")
