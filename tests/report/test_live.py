"""The live view: what it shows of devices, rounds and losses, and when."""

from __future__ import annotations

import pytest
from rich.console import Console

from gaisnet.report.live import LiveView
from gaisnet.schema.files import read_model
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import Event, LinkTraffic, RoundMetrics, RunManifest
from gaisnet.schema.watch import DeviceState
from gaisnet.testing import write_small_job

HASH = "0" * 64


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return read_model(write_small_job(tmp_path_factory.mktemp("job")), Plan)


def manifest(rounds: int) -> RunManifest:
    return RunManifest(
        run_id="r",
        plan_path="plan.json",
        plan_sha256=HASH,
        engine="ray",
        seed=0,
        status="running",
        rounds=rounds,
        frozen_sha256=HASH,
    )


def drawn(view: LiveView) -> str:
    console = Console(width=120, force_terminal=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_before_the_run_begins_it_says_that_it_gets_ready() -> None:
    assert "getting ready" in drawn(LiveView())


def test_it_shows_devices_with_what_they_hold_their_state_and_when_they_were_heard(
    plan: Plan,
) -> None:
    states = {
        "edge-0": DeviceState("computing", 0.2, 1200),
        "owner-a": DeviceState("silent", 7.0, 3),
        "owner-b": DeviceState("lost", 60.0, 4),
    }
    view = LiveView()
    view.began(plan, manifest(3), lambda: states)
    lines = {line.split()[0]: line for line in drawn(view).splitlines() if line.split()}
    assert "computing" in lines["edge-0"]
    assert "edge of c0, c0 2–3" in lines["edge-0"]
    assert "now" in lines["edge-0"]
    assert "1.2 k" in lines["edge-0"]
    assert "silent" in lines["owner-a"]
    assert "c0 owner 0 and 4" in lines["owner-a"]
    assert "7 s ago" in lines["owner-a"]
    assert "lost" in lines["owner-b"]
    assert "idle" in lines["owner-c"], "nothing was heard of it so far"


def test_rounds_losses_bytes_and_rejections_follow_the_run(plan: Plan) -> None:
    calls = {"owner-a": DeviceState("idle", 0.0, 0)}
    view = LiveView()
    view.began(plan, manifest(3), lambda: calls)
    view.told(Event(sequence=0, kind="round_started", round=0))
    assert "round 1 of 3" in drawn(view)
    calls["owner-a"] = DeviceState("idle", 0.0, 10)
    traffic = (
        LinkTraffic(sender="a", receiver="b", frames=1, payload_bytes=1000, frame_bytes=2048),
    )
    figures = {"predicted_s": 1.0, "virtual_s": 1.0, "wall_s": 1.0, "traffic": traffic}
    view.round_measured(RoundMetrics(round=0, train_loss=1.5, eval_accuracy=0.25, **figures))
    view.told(Event(sequence=1, kind="update_rejected", round=0, device="owner-a", detail="NaN"))
    view.told(Event(sequence=2, kind="round_started", round=1))
    half = drawn(view)
    assert "round 2 of 3" in half
    assert "loss 1.5000" in half
    assert "accuracy 25" in half
    assert "2 KiB sent" in half
    calls["owner-a"] = DeviceState("idle", 0.0, 15)
    assert bar(drawn(view)) > bar(half) > 0
    view.round_measured(RoundMetrics(round=1, train_loss=1.0, **figures))
    assert "loss 1.5000 → 1.0000" in drawn(view)
    row = next(line for line in drawn(view).splitlines() if "owner-a" in line)
    assert row.split()[-1] == "1"


def test_a_device_with_other_versions_is_told_of_for_as_long_as_the_run_goes_on(
    plan: Plan,
) -> None:
    view = LiveView()
    view.began(plan, manifest(3), dict)
    what = "runs torch 1 (here 2): the same bits as elsewhere are not promised"
    view.told(Event(sequence=0, kind="versions_differ", device="owner-a", detail=what))
    view.told(Event(sequence=1, kind="round_started", round=0))
    assert f"owner-a {what}" in drawn(view)


def bar(text: str) -> int:
    """Length of the bar that is filled."""
    return text.count("━") + text.count("╸")


def test_a_device_that_is_lost_is_shown_as_lost(plan: Plan) -> None:
    view = LiveView()
    view.began(plan, manifest(1), dict)
    view.told(Event(sequence=0, kind="device_lost", device="owner-c"))
    row = next(line for line in drawn(view).splitlines() if "owner-c" in line)
    assert "lost" in row
