"""Whole plans under the side constraints of job.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gaisnet.errors import InfeasibleError, InputError
from gaisnet.planner import plan
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.leakage import LeakageRow
from gaisnet.schema.plan import Plan
from gaisnet.schema.profile import ModelPart
from tests.planner.factory import make_fleet, make_job, make_model, write_files

FLEET = make_fleet(4, memory_bytes=(14_000,))


def leaky(errors: tuple[float, ...]) -> ModelPart:
    """A model whose cut after unit i has the inversion error ``errors[i]``."""
    rows = tuple(
        LeakageRow(
            unit=unit, samples=8, distance_correlation=1 - error, distance_correlation_null=0.1,
            inversion_error=error, inversion_error_stderr=0.0, attack="ridge",
        )
        for unit, error in enumerate(errors)
    )  # fmt: skip
    return make_model(6, leakage=rows)


def fleet_with(**changes: dict[str, Any]) -> Fleet:
    """The usual fleet with some devices changed."""
    devices = tuple(d.model_copy(update=changes.get(d.id, {})) for d in FLEET.devices)
    return FLEET.model_copy(update={"devices": devices})


def planned(folder: Path, **changes: Any) -> Plan:
    fleet, model = changes.pop("fleet", FLEET), changes.pop("model", make_model(6))
    clusters = changes.pop("clusters", 2)
    job = make_job(clustering={"clusters": clusters}, constraints=changes)
    return plan(write_files(folder, job, fleet, model))


def holders(found: Plan) -> list[set[str]]:
    return [{stage.device for stage in cluster.body} for cluster in found.clusters]


def test_a_forced_device_holds_a_stage_of_every_cluster_that_may_use_it(tmp_path: Path) -> None:
    figures = FLEET.devices[-1].figures
    assert figures is not None
    slow = fleet_with(edge0={"figures": figures.model_copy(update={"flops_per_s": 1e5})})
    assert all("edge0" not in used for used in holders(planned(tmp_path / "a", fleet=slow)))
    found = planned(tmp_path / "b", fleet=slow, forced_devices=["edge0"])
    assert all("edge0" in used for used in holders(found))


def test_devices_apart_hold_no_stages_of_the_same_body(tmp_path: Path) -> None:
    names = [["d0", "edge0"], ["d1", "edge0"], ["d2", "edge0"], ["d3", "edge0"]]
    for used in holders(planned(tmp_path, apart_devices=names)):
        assert used == {"edge0"} or "edge0" not in used


def test_only_cuts_that_leak_little_go_to_who_is_not_trusted(tmp_path: Path) -> None:
    model = leaky((0.1, 0.2, 0.9, 0.3, 0.9))
    found = planned(tmp_path / "a", model=model, max_leakage=0.5)
    for cluster in found.clusters:
        assert cluster.head_units - 1 in (2, 4)
        assert all(stage.last_unit in (2, 4, cluster.tail_first_unit - 1) for stage in cluster.body)
    everybody = {f"d{i}": {"trust": 1.0} for i in range(4)} | {"edge0": {"trust": 1.0}}
    trusting = planned(tmp_path / "b", model=model, max_leakage=0.5, fleet=fleet_with(**everybody))
    free = planned(tmp_path / "c", model=model, fleet=fleet_with(**everybody))
    assert trusting.clusters == free.clusters


def test_leakage_cannot_be_limited_before_it_is_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the profile says nothing of it") as refused:
        planned(tmp_path, max_leakage=0.5)
    assert "--leakage" in (refused.value.hint or "")


def test_first_units_stay_on_permitted_tiers(tmp_path: Path) -> None:
    tier = {"first_units": 4, "tiers": ["end"], "min_trust": 0.0}
    found = planned(tmp_path, privacy_tiers=[tier], min_tail_units=1)
    for cluster in found.clusters:
        assert all(s.first_unit >= 4 for s in cluster.body if s.device == "edge0")


def test_a_step_stays_within_its_budgets_or_says_what_it_needs(tmp_path: Path) -> None:
    fleet = fleet_with(**{d.id: {"price_per_hour": 3600.0} for d in FLEET.devices})
    for name in ("step_energy_budget_j", "step_cost_budget"):
        with pytest.raises(InfeasibleError, match=f"{name} leaves no way") as refused:
            planned(tmp_path / name / "a", fleet=fleet, **{name: 1e-6})
        asked = float((refused.value.hint or "").rsplit(" ", 1)[1])
        found = planned(tmp_path / name / "b", fleet=fleet, **{name: 4 * asked})
        assert found.clusters


def test_names_and_units_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="forced_devices names 'nobody'"):
        planned(tmp_path / "a", forced_devices=["nobody"])
    with pytest.raises(InputError, match="colocated_units names unit 9"):
        planned(tmp_path / "b", colocated_units=[[0, 9]])


def test_colocated_units_are_with_the_owners_or_in_one_stage(tmp_path: Path) -> None:
    for cluster in planned(tmp_path, colocated_units=[[0, 3], [2, 4]]).clusters:
        assert cluster.head_units > 3 or cluster.tail_first_unit <= 3
        stages = [s for s in cluster.body if s.first_unit <= 2 <= s.last_unit]
        assert all(s.last_unit >= 4 for s in stages)
