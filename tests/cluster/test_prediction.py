"""What `benchmarks.cluster` plans, and what it says of the rounds that it has run."""

from __future__ import annotations

import json
import time
from itertools import combinations
from pathlib import Path

import pytest

from benchmarks.cluster import Outcome, rows
from benchmarks.fleets.cases import CASES, Case
from benchmarks.fleets.control import controlled
from gaisnet.models import load_model
from gaisnet.schema.fleet import Device
from gaisnet.schema.job import Job
from gaisnet.schema.model import ModelSpec
from gaisnet.schema.run import RoundMetrics, WorkTime
from tests.report import subjects

every_case = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))


@every_case
def test_a_case_is_a_job_on_a_fleet_whose_owners_have_data(case: Case) -> None:
    tuning = Job.model_validate(case.job).fine_tuning
    devices = [Device.model_validate(case.device(name)) for name in case.machines]
    assert devices[0].tier == "edge"
    owners = [device for device in devices if device.data is not None]
    assert owners
    for owner in owners:
        assert owner.data is not None
        assert owner.data.samples >= tuning.batch_size * tuning.local_steps


@every_case
def test_any_two_machines_of_a_case_are_joined(case: Case) -> None:
    if not isinstance(case.bits_per_s, float):
        assert set(case.bits_per_s) == set(combinations(case.machines, 2))


@every_case
def test_the_model_of_a_case_is_the_one_of_its_title(case: Case, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(case.model))
    model = load_model(ModelSpec(source=str(tmp_path / "model.json")), device="meta")
    assert model.n_units == case.blocks + 2
    assert f"{case.blocks} blocks of width {case.width}" in case.title


def outcome(*walls_s: float) -> Outcome:
    """Rounds that were to take 10 s, of which a device was to compute for 4 s and did for 5 s."""
    work = WorkTime(
        device="phone",
        direction="forward",
        first_unit=0,
        last_unit=1,
        samples=8,
        times=2,
        virtual_s=4.0,
        wall_s=5.0,
    )
    metrics = [
        RoundMetrics(round=i, predicted_s=10.0, virtual_s=9.9, wall_s=wall_s, work=(work,))
        for i, wall_s in enumerate(walls_s)
    ]
    return Outcome(plan=subjects.plan(), rounds=metrics, start_s=12.5, slower=1.02)


@pytest.mark.parametrize(
    ("walls_s", "verdict"),
    [
        ((30.0, 11.4, 11.0), "median ratio 1.140, aim within 15%: met"),
        ((30.0, 11.6, 11.0), "median ratio 1.160, aim within 15%: missed"),
        ((8.4, 8.4, 12.0), "median ratio 0.840, aim within 15%: missed"),
    ],
)
def test_the_median_round_decides_and_too_fast_is_wrong_as_well(
    walls_s: tuple[float, ...], verdict: str
) -> None:
    assert verdict in "\n".join(rows(CASES["links"], outcome(*walls_s)))


def test_what_devices_computed_leaves_the_first_round_out() -> None:
    told = list(rows(CASES["links"], outcome(20.0, 10.0, 10.0)))
    assert "| phone | 8.000 | 10.000 | 1.250 |" in told
    assert "the first round began 12.5 s after the command, on a warm cluster" in told


def test_the_machine_is_watched_for_as_long_as_the_block_runs() -> None:
    with controlled(every_s=0.01) as taken_s:
        until = time.monotonic() + 60
        while len(taken_s) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    before = list(taken_s)
    assert len(before) >= 3
    assert all(seconds > 0 for seconds in before)
    time.sleep(0.2)
    assert taken_s == before
