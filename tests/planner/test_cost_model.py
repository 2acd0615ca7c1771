"""Seconds, joules and bytes of units on devices, by hand."""

from __future__ import annotations

import pytest

from gaisnet.errors import InputError
from gaisnet.planner.cost import CostModel, Residence
from gaisnet.schema.catalogue import preset, preset_names
from gaisnet.schema.fleet import Device, DeviceFigures, Fleet
from gaisnet.schema.job import Constraints
from gaisnet.schema.profile import EndToEnd, Profile, Spread, Timing, UnitPart
from tests.planner.factory import make_cost, make_device, make_fleet, make_job, make_model


def spread(seconds: float) -> Spread:
    return Spread(median_s=seconds, spread_s=0.0, samples=3)


def one_device(figures: DeviceFigures, **job: object) -> CostModel:
    fleet = Fleet(devices=(Device(id="x", tier="end", figures=figures),))
    return make_cost(make_job(**job), fleet, make_model())


def test_without_bandwidth_time_is_flops_over_speed() -> None:
    cost = one_device(DeviceFigures(flops_per_s=1e6, memory_bytes=1))
    assert cost.forward_s("x", 1, 2, 3) == pytest.approx(2 * 3 * 1.0)
    assert cost.backward_s("x", 1, 2, 3) == pytest.approx(2 * 3 * 1.2)
    assert cost.forward_s("x", 2, 1, 3) == 0.0


def test_frozen_units_that_no_gradient_passes_have_no_backward_pass() -> None:
    figures = DeviceFigures(flops_per_s=1e6, memory_bytes=1, unit_overhead_s=5.0)
    assert one_device(figures).backward_s("x", 0, 0, 3) == 0.0


def test_slow_memory_bounds_the_roofline() -> None:
    figures = DeviceFigures(
        flops_per_s=1e30, memory_bytes=1, memory_bandwidth_bytes_per_s=10.0, unit_overhead_s=7.0
    )
    moved = 1000 + 3 * (128 + 128 + 200)
    assert one_device(figures).forward_s("x", 1, 1, 3) == pytest.approx(moved / 10.0 + 7.0)


def test_presets_pay_for_each_operator() -> None:
    name = preset_names()[0]
    part = preset(name)
    units = tuple(u.model_copy(update={"operators": 50}) for u in make_model().units)
    fleet = Fleet(devices=(Device(id="x", tier="end", preset=name),))
    with_calls = make_cost(make_job(), fleet, make_model(units=units))
    without = make_cost(make_job(), fleet, make_model())
    extra = with_calls.forward_s("x", 1, 1, 1) - without.forward_s("x", 1, 1, 1)
    assert extra == pytest.approx(50 * part.op_overhead_s)
    extra = with_calls.backward_s("x", 1, 1, 1) - without.backward_s("x", 1, 1, 1)
    assert extra == pytest.approx(100 * part.op_overhead_s)


def timed(unit: UnitPart, fixed_s: float, slope_s: float) -> UnitPart:
    timings = tuple(
        Timing(
            batch_size=size,
            forward=spread(99.0),
            backward=spread(99.0),
            forward_cpu=spread(fixed_s + slope_s * size),
            backward_cpu=spread(2 * (fixed_s + slope_s * size)),
        )
        for size in (1, 4, 16)
    )
    return unit.model_copy(update={"timings": timings, "update_cpu": spread(0.25)})


def measured_cost(**changes: object) -> CostModel:
    """A device that measured the very model: 3 + 0.5 · batch seconds a unit, kappa 1.1."""
    model = make_model()
    check = EndToEnd(
        batch_size=4,
        step=spread(1.0),
        step_cpu=spread(1.1),
        sum_s=1.0,
        sum_cpu_s=1.0,
        kappa=1.1,
    )
    own = model.model_copy(
        update={
            "units": tuple(timed(u, 3.0, 0.5) for u in model.units),
            "end_to_end": (check,),
            **changes,
        }
    )
    fleet = Fleet(devices=(Device(id="x", tier="end", profile="x.json"),))
    profile = Profile(device=preset(preset_names()[0]), model=own)
    return CostModel.from_parts(make_job(), fleet, model, {"x": profile})


def test_a_device_that_measured_the_model_is_timed_by_its_own_line() -> None:
    cost = measured_cost()
    assert cost.forward_s("x", 0, 1, 8) == pytest.approx(1.1 * 2 * (3 + 0.5 * 8))
    assert cost.backward_s("x", 0, 1, 8) == pytest.approx(1.1 * 4 * (3 + 0.5 * 8))
    assert cost.update_s("x", 0, 3) == pytest.approx(1.1 * 4 * 0.25)


def test_timings_of_another_model_do_not_count() -> None:
    assert measured_cost(fingerprint="1" * 64).forward_s("x", 0, 1, 8) < 1.0


def test_a_device_without_device_part_is_refused() -> None:
    fleet = Fleet(devices=(Device(id="x", tier="end", profile="x.json"),))
    with pytest.raises(InputError, match="no device part"):
        CostModel.from_parts(make_job(), fleet, make_model(), {"x": Profile(model=make_model())})


def test_half_the_share_takes_twice_the_time_and_the_same_energy() -> None:
    cost = make_cost(make_job(), make_fleet(), make_model())
    half = cost.at_share(0.5)
    assert half.forward_s("d0", 0, 3, 2) == pytest.approx(2 * cost.forward_s("d0", 0, 3, 2))
    assert half.energy_j("d0", 0, 3, 2) == pytest.approx(cost.energy_j("d0", 0, 3, 2))


def test_services_leave_fine_tuning_the_rest_of_the_share() -> None:
    service = {"id": "s", "rate_per_s": 1.0}
    job = make_job(services=[service], inference_share=0.3)
    assert make_cost(job, make_fleet(), make_model()).share == pytest.approx(0.7)


def test_energy_is_joules_per_flop_unless_the_power_is_known() -> None:
    figures = DeviceFigures(flops_per_s=1e6, memory_bytes=1, joules_per_flop=2e-6)
    assert one_device(figures).energy_j("x", 1, 1, 3) == pytest.approx(3 * 2.2e6 * 2e-6)
    powered = figures.model_copy(update={"power_w": 5.0})
    assert one_device(powered).energy_j("x", 1, 1, 3) == pytest.approx(5.0 * 3 * 2.2)


def test_stage_memory_by_hand() -> None:
    cost = make_cost(make_job(), make_fleet(), make_model())
    need = cost.stage_memory_bytes(1, 2, 4, 2)
    assert need.weight_bytes == 2 * 1000
    assert need.training_bytes == 2 * (100 + 200 + 4 * 2 * 200)
    assert need.total_bytes == need.weight_bytes + need.training_bytes


def test_transient_memory_counts_once_at_its_highest() -> None:
    units = [
        u.model_copy(update={"working_bytes": 10 * i}) for i, u in enumerate(make_model().units)
    ]
    cost = make_cost(make_job(), make_fleet(), make_model(units=tuple(units)))
    plain = make_cost(make_job(), make_fleet(), make_model()).stage_memory_bytes(1, 3, 4, 2)
    assert cost.stage_memory_bytes(1, 3, 4, 2).total_bytes == plain.total_bytes + 4 * 30


def test_clusters_share_frozen_weights_but_not_tunable_ones() -> None:
    cost = make_cost(make_job(), make_fleet(), make_model())
    stage = Residence(first_unit=1, last_unit=1, samples_in_flight=0, microbatch_size=0)
    assert cost.memory([stage]).weight_bytes == 1000
    assert cost.memory([stage, stage]).weight_bytes == 900 + 2 * 100


def test_sgd_keeps_state_only_with_momentum() -> None:
    def training_bytes(**optimizer: object) -> int:
        job = make_job(fine_tuning={"optimizer": {"kind": "sgd", **optimizer}})
        cost = make_cost(job, make_fleet(), make_model())
        return cost.stage_memory_bytes(1, 1, 1).training_bytes

    assert training_bytes() == 100 + 200
    assert training_bytes(momentum=0.9) == 100 + 100 + 200


def test_memory_limit_is_less_slack_and_what_is_reserved() -> None:
    limits = Constraints(memory_slack=0.1, reserved_bytes=500).model_dump(mode="json")
    cost = make_cost(make_job(constraints=limits), make_fleet(), make_model())
    assert cost.devices["d0"].limit_bytes == 5000 - 500 - 500


def test_a_preset_keeps_its_runtime_out_of_the_memory() -> None:
    name = preset_names()[0]
    part = preset(name)
    fleet = Fleet(devices=(Device(id="x", tier="end", preset=name),))
    limit = make_cost(make_job(), fleet, make_model()).devices["x"].limit_bytes
    assert limit == part.memory_bytes - part.runtime_bytes
    smaller = Device(id="x", tier="end", preset=name, memory_bytes=1000)
    cost = make_cost(make_job(), Fleet(devices=(smaller,)), make_model())
    assert cost.devices["x"].limit_bytes == 1000


def test_a_device_with_less_than_is_reserved_holds_nothing() -> None:
    job = make_job(constraints={"reserved_bytes": 6000})
    assert make_cost(job, make_fleet(), make_model()).devices["d0"].limit_bytes == 0


def test_longer_prompts_cost_linear_work_in_proportion_and_attention_squared() -> None:
    cost = make_cost(make_job(), make_fleet(), make_model())
    block = 0.9e6 * 3 + 0.1e6 * 9
    assert cost.prefill_s("d0", 1, 1, 2, 12) == pytest.approx(2 * block / 1e9)
    assert cost.prefill_s("d0", 1, 1, 2, None) == pytest.approx(2 * 1e6 / 1e9)


def test_decoding_reads_all_weights_for_one_token() -> None:
    figures = DeviceFigures(flops_per_s=1e30, memory_bytes=1, memory_bandwidth_bytes_per_s=10.0)
    moved = 1000 + 2 * 7 * 64
    assert one_device(figures).decode_s("x", 1, 1, 2, 7) == pytest.approx(moved / 10.0)
    fast = one_device(DeviceFigures(flops_per_s=1e6, memory_bytes=1))
    flops = 2 * (0.9e6 / 4 + 0.1e6 * 7 / 16)
    assert fast.decode_s("x", 1, 1, 2, 7) == pytest.approx(flops / 1e6)


@pytest.mark.parametrize(("context_tokens", "kept"), [(3, 3), (5, 5), (9, 5)])
def test_a_sliding_window_bounds_the_cache(context_tokens: int, kept: int) -> None:
    model = make_model()
    block = model.units[1].model_copy(update={"kv_window_tokens": 5})
    sliding = model.model_copy(update={"units": (model.units[0], block, *model.units[2:])})
    cost, whole = (make_cost(make_job(), make_fleet(), m) for m in (sliding, model))
    assert cost.cache_bytes(1, 1, 2, context_tokens) == 2 * kept * 64
    rest = cost.cache_bytes(2, 2, 2, context_tokens)
    assert rest == whole.cache_bytes(2, 2, 2, context_tokens)
    assert cost.cache_bytes(1, 2, 2, context_tokens) == 2 * kept * 64 + rest
    assert cost.decode_s("d0", 1, 1, 2, context_tokens) == whole.decode_s("d0", 1, 1, 2, kept)


def test_quantised_hidden_states_have_a_scale_per_token() -> None:
    plain = make_cost(make_job(), make_fleet(), make_model())
    assert plain.activation_bytes(1, 3) == 3 * 4 * 8 * 4
    job = make_job(fine_tuning={"compression": "int8"})
    packed = make_cost(job, make_fleet(), make_model())
    assert packed.activation_bytes(1, 3) == 3 * 4 * (8 + 4)
    assert packed.gradient_bytes(0, 3) == 0
    assert packed.activation_bytes(1, 1, 7) == 7 * (8 + 4)


def test_every_device_of_a_fleet_is_resolved() -> None:
    fleet = Fleet(devices=(make_device("a"), make_device("b", "edge")))
    assert list(make_cost(make_job(), fleet, make_model()).devices) == ["a", "b"]
