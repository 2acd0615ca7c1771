"""A device's log: levels, what never stands in it, and what happens when nobody collects it."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from pathlib import Path

import pytest

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.devicelog import DeviceLog, secrets_of
from gaisnet.executor.engines import Address, LocalEngine
from gaisnet.executor.probe import PROBE
from gaisnet.executor.run import execute
from gaisnet.schema.watch import LogLevel
from gaisnet.testing import DEVICES, write_small_job

CANARY = "canary-token-5f0c2a9e7b1d4c36"


def test_a_line_says_when_how_grave_where_and_what() -> None:
    log = DeviceLog("phone-1")
    log.placed("holder", 0.5)
    (line,) = log.take()
    fields = json.loads(line)
    assert datetime.fromisoformat(fields.pop("time")).tzinfo is not None
    assert fields == {
        "level": "info",
        "device": "phone-1",
        "message": "holder is in place after 0.500 s",
    }
    assert log.take() == ()


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["info", "debug", "debug", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_chooses_what_is_kept(level: LogLevel, expected: list[str]) -> None:
    log = DeviceLog("a", level)
    log.called("holder.set_modules", 0.1, 0)
    log.called("holder.forward", 0.1, 100)
    log.sent("b", 100)
    log.warn("slow")
    log.failed("holder.forward", ValueError("it broke"))
    assert [json.loads(line)["level"] for line in log.take()] == expected


def test_a_secret_is_hidden_whoever_says_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{CANARY}\n")
    by_file = secrets_of({"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")})
    assert by_file == secrets_of({"RAY_AUTH_TOKEN": CANARY}) == {CANARY}
    assert secrets_of({}) == secrets_of({"RAY_AUTH_TOKEN_PATH": "/nowhere"}) == frozenset()
    log = DeviceLog("a", secrets=by_file)
    library = logging.Logger("some.library")
    library.addHandler(log)
    library.warning("connecting with token %s", CANARY)
    log.failed("placing", RuntimeError(f"bad token {CANARY}"))
    text = "".join(log.take())
    assert "connecting with token ***" in text
    assert CANARY not in text


def test_lines_that_nobody_collects_are_bounded_and_the_loss_is_told() -> None:
    log = DeviceLog("a", most_lines=3)
    for number in range(5):
        log.warn(f"line {number}")
    told, *kept = (json.loads(line)["message"] for line in log.take())
    assert told == "2 lines before these were dropped"
    assert kept == ["line 2", "line 3", "line 4"]
    log.warn("line 5")
    assert len(log.take()) == 1


def test_a_run_leaves_a_log_for_each_device_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", CANARY)
    plan = write_small_job(tmp_path)
    result = execute(plan, run_dir=tmp_path / "run", engine=LocalEngine(log_level="debug"))
    logs = {path.stem: path.read_text() for path in (result.run_dir / "logs").iterdir()}
    assert logs.keys() == set(DEVICES)
    for device, text in logs.items():
        lines = [json.loads(line) for line in text.splitlines()]
        assert {line["device"] for line in lines} == {device}
        assert {line["level"] for line in lines} == {"info", "debug"}
        assert any("holder is in place" in line["message"] for line in lines)
    for path in result.run_dir.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()


def test_what_fails_on_a_device_stands_in_its_log() -> None:
    engine = LocalEngine()
    address = Address("edge-0", PROBE)
    engine.place(address, ProbeBlueprint(device="edge-0", run="r"))
    with pytest.raises(RunError):
        engine.call(address, "fail", "it broke")
    (news,) = engine.news().values()
    assert (
        json.loads(news.lines[-1])["message"]
        == "probe.fail failed: RunError: probe: it broke\n  → ask for something else"
    )
    assert engine.states()["edge-0"].calls == 1
