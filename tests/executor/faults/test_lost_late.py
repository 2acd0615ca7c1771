"""Owners that are lost while modules are collected: left out, and no round is done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaisnet.errors import QuorumError
from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.dispensable import dispensable_owners
from gaisnet.executor.engines import Address, LocalEngine
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.probe import PROBE
from gaisnet.executor.run import execute
from gaisnet.schema.run import Event
from gaisnet.testing import write_small_job
from tests.executor.faults.fragile import FragileEngine
from tests.executor.faults.losing import (
    CuttingEngine,
    Losing,
    LosingInEvaluation,
    changed_at,
    events,
    run,
)
from tests.executor.hfsl import cluster, make_plan
from tests.executor.jobs import write_job

ROUNDS = 3
OWNER, LOST_IN = "owner-b", 1


def test_a_lost_owners_update_is_left_out_and_the_run_goes_on_from_that_round(tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    result = run(plan, tmp_path / "run", Losing(OWNER, "get_modules", LOST_IN))
    assert (result.manifest.status, result.manifest.epoch) == ("done", 1)
    assert [list(m.rejected) for m in result.metrics] == [[], [OWNER], []]
    told = [(e.kind, e.round, e.device) for e in events(tmp_path / "run")]
    after = [told.index(("device_lost", 1, OWNER)), told.index(("update_rejected", 1, OWNER))]
    after += [told.index(("checkpoint_written", 1, None)), told.index(("replanned", 2, OWNER))]
    assert after == sorted(after)
    reference = CuttingEngine(OWNER, LOST_IN)
    expected = changed_at(plan, tmp_path / "other", OWNER, 2, ROUNDS, reference)
    assert result.manifest.tunable_sha256 == expected


def test_a_cluster_whose_only_owner_is_lost_does_not_count_if_the_others_have_the_quorum(
    tmp_path: Path,
):
    clusters = [
        cluster("c0", {"a": 8, "b": 8}, [1, 3], devices=["edge-0"]),
        cluster("c1", {"d": 8}, [1, 3], devices=["edge-1"], edge="edge-1"),
    ]
    plan = write_job(tmp_path, clusters, rounds=ROUNDS)
    engine = Losing("d", "get_modules", 1)
    engine.own = True
    result = run(plan, tmp_path / "run", engine)
    assert [list(m.rejected) for m in result.metrics] == [[], ["d"], []]
    expected = changed_at(plan, tmp_path / "other", "d", 2, ROUNDS, CuttingEngine("d", 1))
    assert result.manifest.tunable_sha256 == expected


def test_in_the_last_round_of_a_run_without_services_nothing_is_planned_again(tmp_path: Path):
    plan = write_job(tmp_path, [cluster("c0", {"a": 8, "b": 8}, [1, 3])], rounds=2)
    result = run(plan, tmp_path / "run", Losing("b", "get_modules", 1))
    assert (result.manifest.status, result.manifest.epoch) == ("done", 0)
    assert [list(m.rejected) for m in result.metrics] == [[], ["b"]]
    assert "device_lost" in {event.kind for event in events(tmp_path / "run")}


def test_below_the_quorum_the_run_ends_with_21_and_is_resumed(tmp_path: Path):
    clusters = [cluster("c0", {"a": 8, "b": 8}, [1, 3])]
    plan = write_job(tmp_path, clusters, rounds=ROUNDS, quorum=0.6)
    with pytest.raises(QuorumError) as caught:
        run(plan, tmp_path / "run", Losing("b", "get_modules", 1))
    assert caught.value.exit_code == 21
    resumed = execute(None, resume=tmp_path / "run")
    whole = execute(plan, run_dir=tmp_path / "whole")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


def test_an_owner_that_is_lost_in_the_evaluation_costs_nothing_of_the_round(tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    result = run(plan, tmp_path / "run", LosingInEvaluation(OWNER, LOST_IN))
    told = [(e.kind, e.round, e.device) for e in events(tmp_path / "run")]
    assert ("device_lost", 1, OWNER) in told
    assert [each for each in told if each[0] == "replanned"] == [("replanned", 2, OWNER)]
    whole = execute(plan, run_dir=tmp_path / "whole", rounds=2)
    known = {"wall_s", "work"}  # which are measured
    for one, other in zip(result.metrics[:2], whole.metrics, strict=True):
        assert one.eval_loss is not None
        assert one.model_dump(exclude=known) == other.model_dump(exclude=known)
    assert result.manifest.tunable_sha256 == changed_at(plan, tmp_path / "b", OWNER, 2, ROUNDS)


@pytest.mark.parametrize("lost", ["owner-c", "edge-0"])
def test_whoever_takes_state_with_it_costs_the_round_that_is_being_evaluated(
    tmp_path: Path, lost: str
):
    """A stage holder has its optimizer's, a coordinator the modules."""
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    result = run(plan, tmp_path / "run", LosingInEvaluation(lost, LOST_IN))
    told = [(e.round, e.device) for e in events(tmp_path / "run") if e.kind == "replanned"]
    assert told == [(1, lost)]
    assert result.manifest.tunable_sha256 == changed_at(plan, tmp_path / "b", lost, 1, ROUNDS)


def test_an_owner_that_also_holds_a_stage_costs_the_round(tmp_path: Path):
    clusters = [cluster("c0", {"a": 8, "b": 8}, [1, 2, 3], devices=["b", "edge-0"])]
    plan = write_job(tmp_path, clusters, rounds=ROUNDS)
    result = run(plan, tmp_path / "run", Losing("b", "get_modules", 1))
    assert [e.round for e in events(tmp_path / "run") if e.kind == "replanned"] == [1]
    assert not any(m.rejected for m in result.metrics)
    assert result.manifest.tunable_sha256 == changed_at(plan, tmp_path / "other", "b", 1, ROUNDS)


def test_a_loss_in_the_last_step_is_one_of_the_local_steps(tmp_path: Path):
    """What was asked for before modules are collected has to come about."""
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    engine, updates = Losing(OWNER, "update", 1), []

    def last_update(address: Address, method: str) -> None:
        if engine.round == 1 and method == "update" and address.device == OWNER:
            updates.append(address)
            if len(updates) == 4:  # head and tail, two steps
                engine.gone.add(OWNER)

    engine.before = last_update
    result = run(plan, tmp_path / "run", engine)
    assert [e.round for e in events(tmp_path / "run") if e.kind == "replanned"] == [1]
    assert not any(m.rejected for m in result.metrics)


def test_a_loss_with_on_loss_stop_leaves_the_run_as_if_nothing_had_happened(tmp_path: Path):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)
    with pytest.raises(LostDeviceError):
        run(plan, tmp_path / "run", Losing(OWNER, "get_modules", 1), on_loss="stop")
    resumed = execute(None, resume=tmp_path / "run")
    whole = execute(plan, run_dir=tmp_path / "whole")
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


def test_a_run_killed_between_the_checkpoint_and_the_new_plan_goes_on_with_the_device(
    tmp_path: Path,
):
    plan = write_small_job(tmp_path, rounds=ROUNDS, helped=True)

    def stop(event: Event) -> None:
        if event.kind == "round_closed" and event.round == 1:
            raise KeyboardInterrupt

    with pytest.raises(BaseException, match="interrupted"):
        run(plan, tmp_path / "run", Losing(OWNER, "get_modules", 1), stop)
    resumed = execute(None, resume=tmp_path / "run")
    left_out = execute(plan, run_dir=tmp_path / "whole", engine=CuttingEngine(OWNER, 1))
    assert resumed.manifest.tunable_sha256 == left_out.manifest.tunable_sha256


def test_whoever_serves_others_or_hands_modules_on_is_not_dispensable():
    clusters = [
        cluster("c0", {"a": 1, "b": 1, "edge-1": 1, "cloud": 1}, [1, 3], devices=["b"]),
        cluster("c1", {"d": 1, "e": 1}, [1, 3], devices=["a"], edge="edge-1"),
        cluster("c2", {"f": 1, "g": 1}, [1, 3], devices=["edge-0"], handover="relay"),
    ]
    assert dispensable_owners(make_plan(clusters, cloud="cloud")) == {"d", "e"}


A, B, C = (Address(device, PROBE) for device in ("a", "b", "c"))


def probes() -> FragileEngine:
    engine = FragileEngine()
    for address in (A, B, C):
        engine.place(address, ProbeBlueprint(device=address.device, run="r"))
    return engine


def test_what_builds_on_a_lost_device_that_is_borne_comes_to_nothing_and_nothing_else_does():
    engine = probes()
    with engine.bear(["a"]) as lost:
        engine.gone.add("a")
        (missing,) = engine.call(A, "make", "b", 3, makes=1).parcels
        arrived = engine.send(missing, B)
        (on,) = engine.call(B, "turn", "c", parcels=[arrived], makes=1).parcels
        (made,) = engine.call(B, "make", "c", 4, makes=1).parcels
        assert engine.call(C, "take", 1.0, parcels=[engine.send(made, C)]).values == {"sum": 4.0}
        assert engine.send(on, C).frame_bytes == missing.frame_bytes == 0
        (back,) = engine.call(C, "make", "a", 4, makes=1).parcels
        engine.send(back, A)
    assert {device: error.where for device, error in lost.items()} == {"a": "a"}
    (link,) = engine.meter.take()
    assert (link.sender, link.receiver, link.frames) == ("b", "c", 1)


def test_only_who_is_named_is_borne_and_only_as_long_as_it_was_said():
    engine = probes()
    engine.gone |= {"a", "b"}
    with engine.bear(["a"]):
        engine.call(A, "make", "b", 3, makes=1)
        with pytest.raises(LostDeviceError, match="b is lost"):
            engine.call(B, "make", "a", 3, makes=1)
    with pytest.raises(LostDeviceError, match="a is lost"):
        engine.call(A, "make", "b", 3, makes=1)


def test_an_engine_that_loses_nothing_bears_nothing():
    engine = LocalEngine()
    engine.place(A, ProbeBlueprint(device="a", run="r"))
    with engine.bear(["a"]) as lost:
        assert engine.call(A, "make", "a", 3, makes=1).parcels[0].frame_bytes > 0
    assert lost == {}
