"""Quantisation: its error bound, its bytes, and what it does with hostile values."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.errors import RunError
from gaisnet.executor.compress import pack, unpack
from gaisnet.planner.cost import compressed_bytes

KINDS = ["int8", "int4"]
Q_MAX = {"int8": 127, "int4": 7}

shapes = st.lists(st.integers(1, 6), min_size=1, max_size=3)


def values_of(shape: list[int], seed: int, log_scale: float) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values * 10.0**log_scale


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(shapes, st.integers(0, 999), st.floats(-30, 30))
def test_the_error_is_at_most_half_the_rows_scale(kind, shape, seed, log_scale):
    values = values_of(shape, seed, log_scale)
    back = unpack("x", pack("x", values, kind), shape[-1])
    scale = values.abs().amax(-1, keepdim=True) / Q_MAX[kind]
    assert back.shape == values.shape
    assert bool(((back - values).abs() <= scale * 0.5 * (1 + 1e-5) + 1e-35).all())


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(shapes, st.integers(0, 999))
def test_quantising_twice_changes_nothing_more(kind, shape, seed):
    once = unpack("x", pack("x", values_of(shape, seed, 0.0), kind), shape[-1])
    twice = unpack("x", pack("x", once, kind), shape[-1])
    torch.testing.assert_close(twice, once, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("kind", ["none", *KINDS])
@settings(deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=4),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_bytes_are_the_planners_formula(kind, shape, dtype):
    packed = pack("x", torch.ones(shape, dtype=dtype), kind)
    assert sum(t.nbytes for t in packed.values()) == compressed_bytes(shape, kind, dtype.itemsize)


@given(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_none_is_bit_exact(dtype):
    values = torch.tensor([[1.0, -0.0, float("inf"), float("nan"), 1e-30]], dtype=dtype)
    back = unpack("x", pack("x", values, "none"), 5, dtype)
    assert back.view(torch.uint8).equal(values.view(torch.uint8))


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back_in_the_models_dtype(kind):
    back = unpack("x", pack("x", torch.ones(2, 3, dtype=torch.bfloat16), kind), 3, torch.bfloat16)
    assert back.dtype is torch.bfloat16
    assert back.equal(torch.ones(2, 3, dtype=torch.bfloat16))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_diverged_row_stays_visible_and_spoils_no_other(kind, bad):
    values = torch.tensor([[1.0, bad, 2.0], [1.0, 2.0, 3.0]])
    back = unpack("x", pack("x", values, kind), 3)
    assert not torch.isfinite(back[0]).any()
    assert torch.isfinite(back[1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_zeros_and_of_subnormals_are_zeros(kind):
    values = torch.tensor([[0.0, 0.0], [1e-44, -1e-44]])
    assert unpack("x", pack("x", values, kind), 2).abs().max() == 0.0


def test_codes_without_scales_are_refused():
    packed = pack("x", torch.ones(2, 3), "int8")
    del packed["x.scales"]
    with pytest.raises(RunError, match="does not carry 'x'"):
        unpack("x", packed, 3)
