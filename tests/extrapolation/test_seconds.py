"""The model of time against sums on paper, and how it behaves when devices or batches change."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaisnet.errors import InputError
from gaisnet.extrapolation import Speeds, lines_s, modelled_s, modelled_update_s, speeds_of
from gaisnet.schema.catalogue import preset, preset_names
from tests.extrapolation.synthetic import make_device, make_unit

SPEEDS = speeds_of(make_device(), "float32")


def test_a_pass_is_products_attention_bytes_and_calls_added_up() -> None:
    batch = 3
    products = batch * 80_000 / 1e6
    attention = batch * 20_000 / 0.5e6
    moved = batch * 500 / 1e4 + batch * 300 / 3e4 + 40 / 2e4
    found = modelled_s(SPEEDS, [make_unit()], "forward", batch)
    assert found == pytest.approx([products + attention + moved + 10 * 1e-3])


def test_attention_multiplies_twice_as_much_backward() -> None:
    batch = 3
    products = batch * (150_000 - 2 * 20_000) / 1e6
    attention = batch * 2 * 20_000 / 0.25e6
    moved = batch * 500 / 1e4 + batch * 300 / 3e4 + 40 / 2e4
    found = modelled_s(SPEEDS, [make_unit()], "backward", batch)
    assert found == pytest.approx([products + attention + moved + 25 * 1e-3])


def test_few_rows_against_large_weights_are_bound_by_memory() -> None:
    slow = speeds_of(make_device(memory_bandwidth_bytes_per_s=1.0), "float32")
    quick = modelled_s(SPEEDS, [make_unit()], "forward", 1)
    found = modelled_s(slow, [make_unit()], "forward", 1)
    assert found - quick == pytest.approx(100 + 1000 - 80_000 / 1e6)


def test_longer_sequences_cost_attention_the_square() -> None:
    one, two = (modelled_s(SPEEDS, [make_unit()], "forward", 1, ratio) for ratio in (1.0, 2.0))
    linear = 80_000 / 1e6 + 500 / 1e4 + 300 / 3e4
    assert two - one == pytest.approx([linear + 3 * 20_000 / 0.5e6])


def test_no_pass_no_time() -> None:
    from gaisnet.schema.profile import PassWork

    nothing = PassWork(operators=0, sample_bytes={}, fixed_bytes={})
    unit = make_unit(backward_flops=0, backward_work=nothing)
    overhead = Speeds(
        flops_per_s=1.0,
        attention_forward_flops_per_s=1.0,
        attention_backward_flops_per_s=1.0,
        unit_s=7.0,
    )
    assert modelled_s(overhead, [unit], "backward", 3) == pytest.approx([0.0])


def test_a_profile_without_counted_bytes_is_estimated_from_what_units_hold() -> None:
    units = [make_unit(i, forward_work=None, backward_work=None) for i in range(2)]
    first, second = modelled_s(SPEEDS, units, "forward", 2)
    assert second - first == pytest.approx(2 * 64 / 1e4)  # nothing enters the first
    backward = modelled_s(SPEEDS, units, "backward", 2)
    assert backward[0] == pytest.approx(
        2 * 110_000 / 1e6 + 2 * 40_000 / 0.25e6 + 2 * 164 / 1e4 + 20 * 1e-3
    )


def test_adamw_passes_twenty_times_over_what_sgd_passes_thrice() -> None:
    adamw, sgd = make_unit(), make_unit(optimizer_bytes=0)
    found = modelled_update_s(SPEEDS, [adamw, sgd])
    assert found == pytest.approx([20 * 40 / 1e4 + 24 * 1e-3, 3 * 40 / 1e4 + 2 * 1e-3])


@given(factor=st.floats(0.1, 50.0), batch=st.integers(1, 64))
def test_a_device_that_is_faster_at_everything_is_faster_by_that(factor: float, batch: int) -> None:
    faster = speeds_of(make_device(speed=factor), "float32")
    for direction in ("forward", "backward"):
        one = modelled_s(SPEEDS, [make_unit()], direction, batch)  # type: ignore[arg-type]
        other = modelled_s(faster, [make_unit()], direction, batch)  # type: ignore[arg-type]
        assert one == pytest.approx(factor * other)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_has_a_speed_for_every_kind_of_work(name: str) -> None:
    part = preset(name)
    speeds = speeds_of(part, "float32")
    for kind in ("move", "norm", "gelu", "silu", "tanh", "softmax"):
        assert 0 < speeds.traffic(kind) <= part.memory_bandwidth_bytes_per_s
    assert 0 < speeds.attention_forward_flops_per_s <= speeds.flops_per_s


def test_narrow_numbers_move_as_many_bytes_but_functions_take_as_long_per_number() -> None:
    part = make_device(sustained_flops_per_s={"float32": 1e6, "bfloat16": 4e6})
    wide, narrow = (speeds_of(part, dtype) for dtype in ("float32", "bfloat16"))
    assert narrow.flops_per_s == 4 * wide.flops_per_s
    assert narrow.traffic("move") == wide.traffic("move")
    assert narrow.traffic("gelu") == wide.traffic("gelu") / 2


def test_an_unknown_type_is_as_fast_as_float32_and_no_speed_is_refused() -> None:
    assert speeds_of(make_device(), "float16").flops_per_s == 1e6
    with pytest.raises(InputError, match="neither sustained nor peak"):
        speeds_of(make_device(peak_flops_per_s={}, sustained_flops_per_s={}), "float32")


def test_what_is_not_known_takes_no_time() -> None:
    bare = Speeds(
        flops_per_s=1e6, attention_forward_flops_per_s=1e6, attention_backward_flops_per_s=1e6
    )
    assert modelled_s(bare, [make_unit()], "forward", 2) == pytest.approx([0.2])
    assert bare.traffic("gelu") == math.inf


@given(fixed=st.floats(0, 10), slope=st.floats(0, 10), size=st.integers(1, 100))
def test_a_line_goes_through_times_that_lie_on_one(fixed: float, slope: float, size: int) -> None:
    sizes = (1, 4, 16)
    seconds = np.array([[fixed + slope * b for b in sizes]])
    assert lines_s(sizes, seconds, size) == pytest.approx([fixed + slope * size], abs=1e-9)


def test_lines_never_run_backwards_nor_begin_below_nothing() -> None:
    falling = lines_s((1, 4), np.array([[4.0, 2.0]]), 100)
    assert falling == pytest.approx([3.0])
    steep = lines_s((1, 4), np.array([[1.0, 10.0]]), 100)
    assert steep == pytest.approx([100 * (1 + 40) / 17])
    assert lines_s((2,), np.array([[6.0]]), 4) == pytest.approx([12.0])
