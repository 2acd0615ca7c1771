"""Carrying times over: ratios, calibration, and what an extrapolated profile says of itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaisnet.errors import InputError, MismatchError
from gaisnet.extrapolation import extrapolate, extrapolate_profile, modelled_s, speeds_of, step_s
from gaisnet.extrapolation.steps import step_parts_s
from gaisnet.schema.calibration import CalibrationStep, StepParts
from gaisnet.schema.model import FullSpec
from gaisnet.schema.profile import Profile
from tests.extrapolation.synthetic import (
    make_device,
    make_model,
    make_step,
    make_unit,
    spread,
    timed,
)

HERE = make_device("here", speed=1.0)
SECONDS = (1.0, 2.0, 3.0)


@given(factor=st.floats(0.1, 20.0), kappa=st.floats(0.5, 2.0))
def test_a_device_slower_at_everything_takes_longer_by_that(factor: float, kappa: float) -> None:
    measured = timed(make_model(), SECONDS, kappa)
    made = extrapolate(measured, make_device(speed=factor), HERE)
    for size in (1, 3, 4, 9):
        assert step_s(made, size) == pytest.approx(step_s(measured, size) / factor)
    block = made.units[2].timings[1]
    assert block.forward_cpu.expected_s == pytest.approx(4 * 3.0 / factor)
    assert block.forward_cpu.spread_s == pytest.approx(4 * 0.3 / factor)
    assert block.forward_cpu.samples == 9
    assert block.forward == block.forward_cpu


def test_what_grows_with_the_batch_and_what_does_not_are_scaled_by_their_own_work() -> None:
    there = make_device(attention_efficiency=HERE.attention_efficiency, op_overhead_s=0.5)
    units = (make_unit(0), make_unit(1, attention_flops=0, forward_flops=900_000), make_unit(2))
    measured = timed(make_model(units), SECONDS, fixed_s=7.0)
    made = extrapolate(measured, there, HERE)
    one, other = (
        [modelled_s(speeds_of(part, "float32"), units, "forward", size) for size in (0, 4)]
        for part in (there, HERE)
    )
    calls, samples = one[0] / other[0], (one[1] - one[0]) / (other[1] - other[0])
    expected = 7.0 * calls + 4 * np.array(SECONDS) * samples
    found = [unit.timings[1].forward_cpu.expected_s for unit in made.units]
    assert found == pytest.approx(expected)
    assert calls[0] > 100 * samples[0]


def test_to_the_device_itself_nothing_changes() -> None:
    measured = timed(make_model(), SECONDS, 1.1)
    made = extrapolate(measured, HERE, HERE)
    assert [u.timings[0].forward_cpu for u in made.units] == [
        u.timings[0].forward_cpu for u in measured.units
    ]
    assert made.stage_overhead_s == pytest.approx(measured.stage_overhead_s)


def test_without_times_or_without_their_device_times_are_modelled() -> None:
    there = make_device()
    untimed = extrapolate(make_model(), there, HERE, batch_sizes=(2, 8))
    assert [t.batch_size for t in untimed.units[0].timings] == [2, 8]
    expected = modelled_s(speeds_of(there, "float32"), make_model().units, "forward", 8)
    found = [unit.timings[1].forward_cpu.expected_s for unit in untimed.units]
    assert found == pytest.approx(expected)
    assert untimed.extrapolation is not None
    assert untimed.extrapolation.method == "modelled"
    assert untimed.extrapolation.measured_on is None
    homeless = extrapolate(timed(make_model(), SECONDS), there, None, batch_sizes=(2, 8))
    assert homeless.units == untimed.units


def test_times_that_are_extrapolated_already_are_made_anew() -> None:
    first = extrapolate(timed(make_model(), SECONDS), make_device("middle", 3.0), HERE)
    again = extrapolate(first, make_device("there"), make_device("middle", 3.0))
    assert again.extrapolation is not None
    assert again.extrapolation.method == "modelled"


def test_every_time_and_the_whole_are_marked() -> None:
    made = extrapolate(timed(make_model(), SECONDS), make_device("there"), HERE)
    assert {t.origin for unit in made.units for t in unit.timings} == {"extrapolated"}
    told = made.extrapolation
    assert told is not None
    assert (told.device, told.measured_on, told.method) == ("there", "here", "scaled")
    assert (told.calibration, told.calibrated_batch_size) == (1.0, None)


def test_one_step_there_fixes_the_step_and_scales_all_else_alike() -> None:
    measured, there = timed(make_model(), SECONDS, 1.2), make_device(speed=0.3)
    plain = extrapolate(measured, there, HERE)
    made = extrapolate(measured, there, HERE, make_step(100.0))
    assert step_s(made, 4) == pytest.approx(100.0)
    factor = 100.0 / step_s(plain, 4)
    assert step_s(made, 1) == pytest.approx(factor * step_s(plain, 1))
    assert made.extrapolation is not None
    assert made.extrapolation.calibration == pytest.approx(factor)
    assert made.extrapolation.calibrated_batch_size == 4
    assert made.end_to_end[1].step_cpu.expected_s == pytest.approx(100.0)
    assert made.stage_overhead_s == pytest.approx(factor * plain.stage_overhead_s)


def test_a_step_that_was_timed_in_parts_scales_each_part_by_its_own() -> None:
    measured, there = timed(make_model(), SECONDS, 1.2), make_device(speed=0.3)
    parts = StepParts(forward=spread(10.0), backward=spread(30.0), update=spread(40.0))
    made = extrapolate(measured, there, HERE, make_step(100.0, parts_cpu=parts))
    assert step_parts_s(made, 4) == pytest.approx(
        {"forward": 12.5, "backward": 37.5, "update": 50.0}
    )
    assert step_s(made, 4) == pytest.approx(100.0)
    forward = [unit.timings[1].forward_cpu.expected_s for unit in made.units]
    plain = extrapolate(measured, there, HERE)
    before = [unit.timings[1].forward_cpu.expected_s for unit in plain.units]
    assert np.array(forward) / forward[0] == pytest.approx(np.array(before) / before[0])


def test_a_step_on_several_threads_counts_by_the_clock() -> None:
    step = make_step(100.0, step=spread(30.0))
    made = extrapolate(timed(make_model(), SECONDS), make_device(), HERE, step)
    assert step_s(made, 4) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"fingerprint": "1" * 64}, "another model"),
        ({"tunable": FullSpec()}, "another tunable"),
        ({"optimizer": "sgd"}, "another optimizer"),
        ({"tokens": 9}, "another sequence length"),
    ],
)
def test_a_step_of_anything_else_is_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises(MismatchError, match=word):
        extrapolate(timed(make_model(), SECONDS), make_device(), HERE, make_step(1.0, **changes))


@pytest.mark.parametrize(
    "step",
    [
        make_step(0.0),
        make_step(
            1.0, parts_cpu=StepParts(forward=spread(0), backward=spread(0), update=spread(0))
        ),
    ],
)
def test_a_step_that_took_no_time_is_refused(step: CalibrationStep) -> None:
    with pytest.raises(InputError, match="took no time"):
        extrapolate(timed(make_model(), SECONDS), make_device(), HERE, step)


def test_how_far_off_a_preset_may_be_is_not_claimed() -> None:
    measured = timed(make_model(), SECONDS)
    preset = make_device(origin="preset")
    errors = [
        made.extrapolation.expected_error
        for made in (
            extrapolate(measured, preset, HERE),
            extrapolate(measured, make_device(), HERE),
            extrapolate(measured, preset, HERE, make_step(1.0)),
        )
        if made.extrapolation is not None
    ]
    assert errors[0] is None
    assert errors[1] is not None
    assert errors[2] is not None
    assert errors[2] < errors[1]


@pytest.mark.parametrize(("here", "there"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_how_far_off_a_gpus_times_are_is_not_claimed(here: str, there: str) -> None:
    measured, source = timed(make_model(), SECONDS), HERE.model_copy(update={"kind": here})
    for step in (None, make_step(1.0)):
        made = extrapolate(measured, make_device(kind=there), source, step)
        assert made.extrapolation is not None
        assert made.extrapolation.expected_error is None


def test_a_profile_becomes_that_of_the_other_device() -> None:
    profile = Profile(device=HERE, model=timed(make_model(), SECONDS), seed=7)
    made = extrapolate_profile(profile, make_device("there", origin="preset"))
    assert made.device is not None
    assert (made.device.name, made.device.origin) == ("there", "extrapolated")
    assert made.seed == 7
    assert Profile.model_validate_json(made.model_dump_json()) == made
    with pytest.raises(MismatchError, match="no model part"):
        extrapolate_profile(Profile(device=HERE), make_device())


def test_units_timed_at_different_batch_sizes_are_refused() -> None:
    measured = timed(make_model(), SECONDS)
    odd = measured.units[0].model_copy(update={"timings": measured.units[0].timings[:1]})
    with pytest.raises(InputError, match="different batch sizes"):
        step_s(measured.model_copy(update={"units": (odd, *measured.units[1:])}), 1)
