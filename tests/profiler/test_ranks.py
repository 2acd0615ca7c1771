"""Figures of other ranks are those of a profile made at that rank."""

from __future__ import annotations

import pytest

from gaisnet.errors import ModelError
from gaisnet.planner import at_rank, profile_at_rank, profiled_ranks
from gaisnet.profiler import profile_model
from gaisnet.profiler.ranks import with_ranks
from gaisnet.schema.model import HeadSpec, LoraSpec, ModelSpec
from gaisnet.schema.profile import ModelPart, Profile
from tests.profiler.small import spec_of


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return spec_of("vit", tmp_path_factory.mktemp("vit"))


@pytest.fixture(scope="module")
def timed(spec: ModelSpec) -> ModelPart:
    part = profile_model(spec, LoraSpec(r=4), batch_sizes=(1,))
    return with_ranks(part, (2, 4, 16))


@pytest.mark.parametrize("r", [2, 16])
def test_counts_at_another_rank_are_those_of_a_profile_made_at_it(
    spec: ModelSpec, timed: ModelPart, r: int
) -> None:
    assert profiled_ranks(timed) == (2, 4, 16)
    real = profile_model(spec, LoraSpec(r=r), times=False)
    found = at_rank(timed, LoraSpec(r=r))
    assert found.tunable == LoraSpec(r=r)
    assert found.fingerprint == real.fingerprint != timed.fingerprint
    ignored = {"timings", "update", "update_cpu", "witnesses"}
    for unit, expected in zip(found.units, real.units, strict=True):
        assert unit.model_dump(exclude=ignored) == expected.model_dump(exclude=ignored)


def test_counts_are_linear_in_the_rank_as_lora_is(timed: ModelPart) -> None:
    """A map of ``n`` rows, ``i`` inputs and ``o`` outputs gets ``r (i + o)`` weights, which cost
    ``2 n r (i + o)`` operations forward."""
    low, own, high = (at_rank(timed, LoraSpec(r=r)) for r in (2, 4, 16))
    for a, b, c in zip(low.units, own.units, high.units, strict=True):
        for field in ("parameters", "forward_flops", "backward_flops", "saved_activation_bytes"):
            rise = [getattr(unit, field) for unit in (a, b, c)]
            assert 6 * (rise[1] - rise[0]) == rise[2] - rise[1], field
        weights = b.parameters - a.parameters
        assert b.forward_flops - a.forward_flops == 2 * timed.tokens * weights
    assert any(b.parameters > a.parameters for a, b in zip(low.units, own.units, strict=True))


def test_times_grow_with_the_operations(timed: ModelPart) -> None:
    high = at_rank(timed, LoraSpec(r=16))
    block, before = high.units[1], timed.units[1]
    growth = block.forward_flops / before.forward_flops
    assert growth > 1.0
    assert block.timings[0].forward_cpu.expected_s == pytest.approx(
        growth * before.timings[0].forward_cpu.expected_s
    )
    assert block.update is not None
    assert before.update is not None
    assert block.update.expected_s == pytest.approx(
        before.update.expected_s * block.gradient_bytes / before.gradient_bytes
    )


def test_there_and_back_is_the_same_again(timed: ModelPart) -> None:
    back = at_rank(at_rank(timed, LoraSpec(r=16)), LoraSpec(r=4))
    for unit, before in zip(back.units, timed.units, strict=True):
        ignored = {"timings", "update", "update_cpu"}
        assert unit.model_dump(exclude=ignored) == before.model_dump(exclude=ignored)
    assert back.fingerprint == timed.fingerprint


def test_a_devices_own_profile_follows_and_another_models_does_not(timed: ModelPart) -> None:
    here = timed.model_copy(update={"ranks": ()})
    moved = profile_at_rank(Profile(model=here), timed, LoraSpec(r=16))
    assert moved.model is not None
    assert moved.model.fingerprint == at_rank(timed, LoraSpec(r=16)).fingerprint
    other = Profile(model=here.model_copy(update={"fingerprint": "1" * 64}))
    assert profile_at_rank(other, timed, LoraSpec(r=16)) is other


def test_ranks_that_were_not_counted_change_nothing(timed: ModelPart) -> None:
    assert at_rank(timed, LoraSpec(r=5)) is timed
    assert at_rank(timed, HeadSpec()) is timed


def test_only_lora_has_ranks(spec: ModelSpec) -> None:
    part = profile_model(spec, HeadSpec(), times=False)
    assert profiled_ranks(part) == ()
    with pytest.raises(ModelError, match="head has no rank"):
        with_ranks(part, (2, 4))
