"""Owners whose processes are really killed while modules are collected, at a given moment."""

from __future__ import annotations

import os
import signal
import time
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.engines import Address
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.probe import PROBE
from gaisnet.executor.run import execute
from gaisnet.schema.job import PrivacySpec
from gaisnet.schema.run import Event
from tests.executor.faults.losing import Losing, LosingInEvaluation, events, is_snapshot, run
from tests.executor.hfsl import cluster
from tests.executor.jobs import write_job

if TYPE_CHECKING:  # importing it loads Ray, which reads its settings then
    from gaisnet.executor.engines.ray.engine import RayEngine

pytestmark = pytest.mark.timeout(900)  # five processes that import torch, on a busy machine

OWNERS = {"owner-a": 8, "owner-b": 4, "owner-c": 6, "edge-1": 2}
LOST = "owner-b"


def kill_when_asked(engine: RayEngine, device: str, method: str) -> None:
    """The device's process kills itself when it is about to do ``method``."""
    import ray

    def arm(process: Any) -> None:
        found = process._method

        def strike(service: str, asked: str) -> Any:
            if asked == method:
                os.kill(os.getpid(), signal.SIGKILL)
            return found(service, asked)

        process._method = strike

    ray.get(engine.handles[device].__ray_call__.remote(arm), timeout=60)


@pytest.mark.parametrize(
    ("secure", "method"),
    [
        (True, "seal_shares"),
        (True, "masked_modules"),
        (True, "reveal_shares"),
        (False, "get_modules"),
    ],
)
def test_the_round_closes_and_the_run_goes_on_as_on_the_embedded_engine_bit_for_bit(
    ray_engine: RayEngine, tmp_path: Path, secure: bool, method: str
):
    chosen = [cluster("c0", OWNERS, [1, 3], devices=["edge-0"])]
    privacy = PrivacySpec(secure_aggregation=secure)
    plan = write_job(tmp_path, chosen, rounds=3, privacy=privacy)

    def strike(event: Event) -> None:
        if event.kind == "round_started" and event.round == 1:
            kill_when_asked(ray_engine, LOST, method)

    there = execute(plan, run_dir=tmp_path / "there", engine=ray_engine, on_event=strike)
    embedded = Losing(LOST, method, 1)
    embedded.own = True
    here = run(plan, tmp_path / "here", embedded)
    left_out = [] if method == "reveal_shares" else [LOST]
    assert [list(m.rejected) for m in there.metrics] == [[], left_out, []]
    assert there.manifest.epoch == here.manifest.epoch == 1
    assert there.manifest.tunable_sha256 == here.manifest.tunable_sha256
    for one, other in zip(there.metrics, here.metrics, strict=True):
        assert one.rejected == other.rejected
        assert one.traffic == other.traffic
        assert one.virtual_s == other.virtual_s
    assert told(tmp_path / "there") == told(tmp_path / "here")


def kill_in_evaluation(engine: RayEngine, device: str) -> None:
    """The edge kills a device when it is asked for modules to be evaluated, and answers when that
    is known."""
    import ray

    process, known_s = engine.processes()[device], 4.0

    def arm(edge: Any) -> None:
        found = edge._method

        def method(service: str, asked: str) -> Any:
            called = found(service, asked)

            @wraps(called)
            def struck(*arguments: Any) -> Any:
                if is_snapshot(asked, arguments):
                    edge._method = found
                    os.kill(process, signal.SIGKILL)
                    time.sleep(known_s)
                return called(*arguments)

            return struck

        edge._method = method

    ray.get(engine.handles["edge-0"].__ray_call__.remote(arm), timeout=60)


def test_an_owner_that_is_lost_in_the_evaluation_costs_nothing_of_the_round(
    ray_engine: RayEngine, tmp_path: Path
):
    plan = write_job(tmp_path, [cluster("c0", OWNERS, [1, 3], devices=["edge-0"])], rounds=3)

    def strike(event: Event) -> None:
        if event.kind == "round_started" and event.round == 1:
            kill_in_evaluation(ray_engine, LOST)

    there = execute(plan, run_dir=tmp_path / "there", engine=ray_engine, on_event=strike)
    here = run(plan, tmp_path / "here", LosingInEvaluation(LOST, 1))
    assert there.manifest.tunable_sha256 == here.manifest.tunable_sha256
    for one, other in zip(there.metrics, here.metrics, strict=True):
        assert (one.eval_loss, one.traffic) == (other.eval_loss, other.traffic)
    assert told(tmp_path / "there") == told(tmp_path / "here")
    assert ("replanned", 2, LOST) in told(tmp_path / "there")


A, B, LOST_PROBE = (Address(device, PROBE) for device in ("edge-0", "edge-1", LOST))


def test_a_loss_is_borne_for_what_is_asked_within_the_context_and_for_nothing_before(
    ray_engine: RayEngine,
):
    from gaisnet.executor.engines.ray.patience import Patience
    from gaisnet.executor.engines.ray.peer import PeerEngine

    for address in (A, B, LOST_PROBE):
        ray_engine.place(address, ProbeBlueprint(device=address.device, run="r"))
    ray_engine.settle()
    known = ray_engine.handles, Patience.of(10.0, simulated=True), lambda: False
    before, within, idle = (PeerEngine(f"{name}#late", *known) for name in "abc")
    os.kill(ray_engine.processes()[LOST], signal.SIGKILL)

    def exchange(engine: PeerEngine) -> float:
        (parcel,) = engine.call(A, "make", B.device, 4, makes=1).parcels
        return float(engine.call(B, "take", 1.0, parcels=[engine.send(parcel, B)]).values["sum"])

    def ask(engine: PeerEngine) -> None:
        (parcel,) = engine.call(LOST_PROBE, "make", A.device, 4, makes=1).parcels
        (on,) = engine.call(A, "turn", B.device, parcels=[engine.send(parcel, A)], makes=1).parcels
        engine.call(B, "take", 1.0, parcels=[engine.send(on, B)])

    with within.bear([LOST]) as lost:
        ask(within)
        assert exchange(within) == 4.0
    assert list(lost) == [LOST]
    assert [(link.sender, link.receiver, link.frames) for link in within.meter.take()] == [
        (A.device, B.device, 1)
    ]
    ask(before)
    with pytest.raises(LostDeviceError, match=LOST), before.bear([LOST]):
        exchange(before)
    idle.heed([LOST])

    def ask_others_alone() -> None:
        while True:
            exchange(idle)

    with pytest.raises(LostDeviceError, match=LOST):
        ask_others_alone()


def told(folder: Path) -> list[tuple[str, int | None, str | None]]:
    return [(e.kind, e.round, e.device) for e in events(folder)]
