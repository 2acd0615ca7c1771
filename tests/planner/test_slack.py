"""Margins of memory and time: what the plan leaves free, and what it predicts."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaisnet.errors import UsageError
from gaisnet.options.plan import slack
from gaisnet.planner import plan
from gaisnet.schema.plan import Plan, Slack
from tests.planner.factory import make_fleet, make_job, make_model, write_files

CLUSTER = {"clusters": 1}


def planned(folder: Path, slack: Slack | None = None, **constraints: float) -> Plan:
    job = make_job(constraints=constraints, clustering=CLUSTER)
    return plan(write_files(folder, job, make_fleet(4), make_model(6)), slack=slack)


def test_a_time_margin_stretches_what_speeds_and_bandwidths_take(tmp_path: Path) -> None:
    busy = planned(tmp_path).predictions.devices
    slowed = planned(tmp_path, time_slack=0.5)
    assert slowed.slack == Slack(time=0.5)
    for device, margined in zip(busy, slowed.predictions.devices, strict=True):
        if device.memory_bytes == margined.memory_bytes:
            assert margined.busy_s_per_round == pytest.approx(2 * device.busy_s_per_round)


def test_margins_given_beside_the_job_are_those_of_the_job(tmp_path: Path) -> None:
    beside = planned(tmp_path, Slack(memory=0.2, time=0.1))
    within = planned(tmp_path, memory_slack=0.2, time_slack=0.1)
    assert beside.slack == within.slack
    assert beside.clusters == within.clusters
    assert beside.predictions == within.predictions


def test_a_memory_margin_is_kept_free_on_every_device(tmp_path: Path) -> None:
    free = {d.device: d.limit_bytes for d in planned(tmp_path).predictions.devices}
    for device in planned(tmp_path, Slack(memory=0.3)).predictions.devices:
        assert device.memory_bytes <= device.limit_bytes <= 0.7 * free[device.device]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0.2", Slack(memory=0.2, time=0.2)),
        ("memory=0.1", Slack(memory=0.1)),
        ("time=0.5, memory=0", Slack(time=0.5)),
    ],
)
def test_margins_as_they_are_written(text: str, meant: Slack) -> None:
    assert slack(text) == meant


@pytest.mark.parametrize("text", ["", "much", "1", "-0.1", "memory", "memory=x", "disk=0.1", "1,2"])
def test_margins_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        slack(text)
