"""A run that loses a device goes on without it, as one whose plan had changed at that round."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaisnet.errors import QuorumError, RunError
from gaisnet.executor.carryover import carry_over
from gaisnet.executor.checkpoint import Checkpoints
from gaisnet.executor.engines import LocalEngine
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.export import states_sha256
from gaisnet.executor.planfiles import read_plan
from gaisnet.executor.run import RunResult, execute
from gaisnet.executor.session import Session
from gaisnet.planner import inputs_of, replan
from gaisnet.schema.files import canonical_json, read_lines
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import Event
from gaisnet.testing import write_small_job
from tests.executor.faults.fragile import FragileEngine

ROUNDS = 3
HELPER, EDGE, OWNER = "owner-c", "edge-0", "owner-b"


def losing(device: str, method: str, round_index: int) -> FragileEngine:
    """An engine that loses a device when it is asked for ``method`` in a round."""
    engine = FragileEngine()
    seen = {"round": -1}

    def before(address: object, asked: str) -> None:
        if seen["round"] == round_index and asked == method:
            engine.gone.add(device)

    engine.before = before
    engine.seen = seen  # type: ignore[attr-defined]
    return engine


def run(plan: Path, folder: Path, engine: FragileEngine, **options: object) -> RunResult:
    def follow(event: Event) -> None:
        if event.kind == "round_started":
            engine.seen["round"] = event.round  # type: ignore[attr-defined]

    return execute(plan, run_dir=folder, engine=engine, on_event=follow, **options)  # type: ignore[arg-type]


def changed_at(plan: Path, folder: Path, lost: str, round_index: int) -> str:
    """Hash of the modules of a run whose plan changes before a round, put together by hand."""
    execute(plan, run_dir=folder, rounds=round_index)
    files = read_plan(plan)
    other = replan(files.plan, [lost], inputs_of(files.plan, plan), folder=folder)
    (folder / "other.json").write_text(canonical_json(other))
    after = read_plan(folder / "other.json")
    checkpoint, _ = Checkpoints(folder / "checkpoints", files.sha256, 2).newest()
    assert checkpoint is not None
    session = Session(after, LocalEngine(), "by-hand", files.plan.seed, ROUNDS, 7)
    session.resume(carry_over(checkpoint, files.plan, other, personal=False))
    for index in range(round_index, ROUNDS):
        session.round(index)
    return states_sha256(session.domains())


@pytest.mark.parametrize("lost", [HELPER, EDGE, OWNER])
@pytest.mark.parametrize("method", ["backward", "close_cluster", "export_optimizers"])
def test_a_lost_device_is_replaced_and_the_round_is_run_again(
    tmp_path: Path, lost: str, method: str
):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    result = run(plan, tmp_path / "run", losing(lost, method, 1))
    assert result.manifest.status == "done"
    assert result.manifest.epoch == 1
    assert [m.round for m in result.metrics] == [0, 1, 2]
    (event,) = [e for e in events(tmp_path / "run") if e.kind == "replanned"]
    assert (event.device, event.round) == (lost, 1)
    assert result.manifest.tunable_sha256 == changed_at(plan, tmp_path / "other", lost, 1)
    assert lost not in {x for m in result.metrics[1:] for t in m.traffic for x in (t.sender,)}


def test_a_run_that_planned_again_is_resumed_under_its_new_plan(tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    whole = run(plan, tmp_path / "whole", losing(HELPER, "backward", 1))
    engine = losing(HELPER, "backward", 1)

    def stop(event: Event) -> None:
        if event.kind == "round_started":
            engine.seen["round"] = event.round  # type: ignore[attr-defined]
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
        run(plan, tmp_path / "run", losing(HELPER, "backward", 1), on_loss="stop")
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


def events(folder: Path) -> tuple[Event, ...]:
    return read_lines(folder / "events.jsonl", Event)
