"""A run that loses a device goes on without it, as one whose plan had changed at that round."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaisnet.errors import QuorumError, RunError
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.run import execute
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import Event
from gaisnet.testing import write_small_job
from tests.executor.faults.fragile import FragileEngine
from tests.executor.faults.losing import Losing, changed_at, events, run

ROUNDS = 3
HELPER, EDGE, OWNER = "owner-c", "edge-0", "owner-b"


@pytest.mark.parametrize("lost", [HELPER, EDGE, OWNER])
@pytest.mark.parametrize("method", ["backward", "close_cluster", "export_optimizers"])
def test_a_lost_device_is_replaced_and_the_round_is_run_again(
    tmp_path: Path, lost: str, method: str
):
    """Unless it is an owner that has nothing more to do in the round: then that counts."""
    done = 2 if lost == OWNER and method != "backward" else 1
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    result = run(plan, tmp_path / "run", Losing(lost, method, 1))
    assert result.manifest.status == "done"
    assert result.manifest.epoch == 1
    assert [m.round for m in result.metrics] == [0, 1, 2]
    assert not any(m.rejected for m in result.metrics)
    (event,) = [e for e in events(tmp_path / "run") if e.kind == "replanned"]
    assert (event.device, event.round) == (lost, done)
    expected = changed_at(plan, tmp_path / "other", lost, done, ROUNDS)
    assert result.manifest.tunable_sha256 == expected
    assert lost not in {x for m in result.metrics[done:] for t in m.traffic for x in (t.sender,)}


def test_a_run_that_planned_again_is_resumed_under_its_new_plan(tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    whole = run(plan, tmp_path / "whole", Losing(HELPER, "backward", 1))
    engine = Losing(HELPER, "backward", 1)

    def stop(event: Event) -> None:
        engine.follow(event)
        if event.kind == "replanned":  # before any checkpoint of the new plan is there
            raise KeyboardInterrupt

    with pytest.raises(BaseException, match="interrupted"):
        execute(plan, run_dir=tmp_path / "run", engine=engine, on_event=stop)
    resumed = execute(None, resume=tmp_path / "run")
    assert resumed.manifest.epoch == 2
    assert Plan.model_validate_json(
        (tmp_path / "run" / resumed.manifest.plan_path).read_text()
    ).loss
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


def test_a_run_may_lose_one_device_after_the_other(tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    engine = FragileEngine()

    def lose(event: Event) -> None:
        if event.kind == "round_started" and event.round:
            engine.gone.add([HELPER, "edge-1"][event.round - 1])

    result = execute(plan, run_dir=tmp_path / "run", engine=engine, on_event=lose)
    assert result.manifest.status == "done"
    used = {t.receiver for t in result.metrics[-1].traffic}
    assert not used & {HELPER, "edge-1"}


def test_a_loss_may_end_the_run_instead(tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    with pytest.raises(LostDeviceError, match=HELPER) as caught:
        run(plan, tmp_path / "run", Losing(HELPER, "backward", 1), on_loss="stop")
    assert "--resume" in str(caught.value.hint)
    resumed = execute(None, resume=tmp_path / "run")
    whole = execute(plan, run_dir=tmp_path / "whole")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


@pytest.mark.parametrize(
    ("gone", "kind", "why"),
    [
        ({"owner-a", "owner-b"}, QuorumError, "8 of 24 samples are left"),
        ({"owner-a", "owner-b", "owner-c"}, LostDeviceError, "is lost"),
    ],
)
def test_too_few_owners_end_the_run_with_the_command_that_resumes_it(
    tmp_path: Path, gone: set[str], kind: type[RunError], why: str
):
    plan = write_small_job(tmp_path, rounds=ROUNDS)
    engine = FragileEngine()

    def lose(event: Event) -> None:
        if event.kind == "round_started" and event.round == 1:
            engine.gone |= gone

    with pytest.raises(kind, match=why) as caught:
        execute(plan, run_dir=tmp_path / "run", engine=engine, on_event=lose)
    assert caught.value.exit_code == (21 if kind is QuorumError else 20)
    assert f"--resume {tmp_path / 'run'}" in str(caught.value.hint)
    resumed = execute(None, resume=tmp_path / "run")
    whole = execute(plan, run_dir=tmp_path / "whole")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256
