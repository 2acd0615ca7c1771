"""Figures that were wrong by known factors are found again from what a run recorded."""

from __future__ import annotations

from typing import Any

import pytest

from gaisnet.planner.calibration.figures import fit_devices, fit_links
from gaisnet.planner.cost import CostModel
from gaisnet.schema.fleet import Device, Fleet, Link
from gaisnet.schema.run import MoveTime, RoundMetrics, WorkTime
from gaisnet.schema.run_calibration import Calibration, Times
from tests.planner.factory import make_cost, make_fleet, make_job, make_model

SIZES = (200, 1_000, 30_000)


def slower(fleet: Fleet, factors: dict[str, float]) -> Fleet:
    def changed(device: Device) -> Device:
        if device.id not in factors or device.figures is None:
            return device
        speed = device.figures.flops_per_s / factors[device.id]
        figures = device.figures.model_copy(update={"flops_per_s": speed})
        return device.model_copy(update={"figures": figures})

    return fleet.model_copy(update={"devices": tuple(map(changed, fleet.devices))})


def recorded(true: CostModel, wall: float = 1.0, rounds: int = 5) -> list[RoundMetrics]:
    """What a run with these figures writes down; its first round is wild on every clock."""
    return [_round(true, index, 7.0 if index == 0 else 1.0, wall) for index in range(rounds)]


def _round(true: CostModel, index: int, wild: float, wall: float) -> RoundMetrics:
    work = [
        WorkTime(
            device=device,
            direction=direction,  # type: ignore[arg-type]
            first_unit=0,
            last_unit=2,
            samples=4,
            times=2,
            virtual_s=2 * wild * true.work_s(device, direction, 0, 2, 4),
            wall_s=2 * wild * wall * true.work_s(device, direction, 0, 2, 4),
        )
        for device in ("d0", "d1", "edge0")
        for direction in ("forward", "turn", "update")
    ]
    moves = [
        MoveTime(
            sender=a,
            receiver=b,
            frame_bytes=size,
            times=3,
            virtual_s=3 * wild * true.transfer_s(a, b, size),
        )
        for a, b, sizes in (("d0", "edge0", SIZES), ("edge0", "d0", SIZES[:1]))
        for size in sizes
    ]
    fields: dict[str, Any] = {"predicted_s": 1.0, "virtual_s": wild, "wall_s": wild}
    return RoundMetrics(round=index, work=tuple(work), moves=tuple(moves), **fields)


@pytest.mark.parametrize("services", [[], [{"id": "ask", "rate_per_s": 1.0}]])
def test_factors_latency_and_bandwidth_are_found_again(services: list[Any]) -> None:
    job, model, believed = make_job(services=services), make_model(5), make_fleet(3)
    link = Link(between=("d0", "edge0"), bandwidth_bits_per_s=3e6, latency_s=0.007)
    true = slower(believed, {"d0": 2.5, "edge0": 0.4})
    true = true.model_copy(update={"links": (link, *true.links)})
    cost, rounds = make_cost(job, believed, model), recorded(make_cost(job, true, model))
    devices = {fit.device: fit for fit in fit_devices(cost, rounds, "virtual")}
    assert {name: fit.factor for name, fit in devices.items()} == pytest.approx(
        {"d0": 2.5, "d1": 1.0, "edge0": 0.4}
    )
    assert devices["d0"].spread == pytest.approx(0.0, abs=1e-9)
    assert devices["d0"].passes == 5 * 2 * 2  # an update takes no predicted time here
    links = {(fit.sender, fit.receiver): fit for fit in fit_links(cost, rounds)}
    there = links["d0", "edge0"]
    assert there.fitted == "line"
    assert there.bandwidth_bits_per_s == pytest.approx(3e6)
    assert there.latency_s == pytest.approx(0.007)
    back = links["edge0", "d0"]
    assert back.fitted == "factor"
    assert back.round_times.calibrated_s == pytest.approx(back.round_times.measured_s)


def test_the_clock_of_the_devices_is_taken_when_asked() -> None:
    cost = make_cost(make_job(), make_fleet(3), make_model(5))
    found = fit_devices(cost, recorded(cost, wall=1.7), "wall")
    assert [fit.factor for fit in found] == pytest.approx([1.7, 1.7, 1.7])


def test_devices_whose_clock_is_silent_are_left_out() -> None:
    cost = make_cost(make_job(), make_fleet(3), make_model(5))
    rounds = [
        metrics.model_copy(
            update={
                "work": tuple(
                    w.model_copy(update={"wall_s": None}) if w.device == "d0" else w
                    for w in metrics.work
                )
            }
        )
        for metrics in recorded(cost)
    ]
    assert [fit.device for fit in fit_devices(cost, rounds, "wall")] == ["d1", "edge0"]


def test_a_calibrated_cost_model_predicts_what_was_recorded() -> None:
    job, model, believed = make_job(), make_model(5), make_fleet(3)
    true = make_cost(job, slower(believed, {"d0": 2.5, "d1": 0.5}), model)
    cost, rounds = make_cost(job, believed, model), recorded(true)
    fitted = cost.calibrated(calibration_of(cost, rounds))
    for device in ("d0", "d1", "edge0"):
        assert fitted.forward_s(device, 0, 4, 8) == pytest.approx(true.forward_s(device, 0, 4, 8))
        assert fitted.unit_j(device, 8) == pytest.approx(cost.unit_j(device, 8))
    assert fitted.transfer_s("d0", "edge0", 5000) == pytest.approx(
        true.transfer_s("d0", "edge0", 5000)
    )
    assert fitted.forward_s("d2", 0, 4, 8) == cost.forward_s("d2", 0, 4, 8)


def test_devices_and_links_of_another_fleet_are_left_alone() -> None:
    job, model = make_job(), make_model(5)
    cost = make_cost(job, make_fleet(3), model)
    smaller = Fleet(devices=make_fleet(3).devices[1:], links=make_fleet(3).links)
    other = make_cost(job, smaller, model).calibrated(calibration_of(cost, recorded(cost)))
    assert "d0" not in other.devices
    assert other.links.way("d1", "edge0") == cost.links.way("d1", "edge0")


def calibration_of(cost: CostModel, rounds: list[RoundMetrics]) -> Calibration:
    return Calibration(
        run_id="r",
        plan_sha256="0" * 64,
        engine="local",
        clock="virtual",
        rounds=len(rounds),
        round_times=Times(predicted_s=1.0, measured_s=1.0, calibrated_s=1.0),
        devices=fit_devices(cost, rounds, "virtual"),
        links=fit_links(cost, rounds),
    )
