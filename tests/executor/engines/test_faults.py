"""Devices that really end or freeze: found in time, named, and the run can be resumed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.engines import Address, LocalEngine
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.frames import Buffer, read_header
from gaisnet.executor.probe import PROBE
from gaisnet.executor.run import execute
from gaisnet.schema.run import Event
from gaisnet.testing import write_small_job
from tests.cluster.slowness import slowed
from tests.executor.faults.losing import Losing

if TYPE_CHECKING:  # importing it loads Ray, which reads its settings then
    from gaisnet.executor.engines.ray.engine import RayEngine

pytestmark = pytest.mark.timeout(900)  # five processes that import torch, on a busy machine

OWNER = "owner-c"
A, B, C = (Address(device, PROBE) for device in ("edge-0", "edge-1", OWNER))


def place(engine: RayEngine) -> None:
    for address in (A, B, C):
        engine.place(address, ProbeBlueprint(device=address.device, run="r"))
    engine.settle()


def test_a_killed_stage_holder_ends_the_run_with_20_and_it_is_resumed_bit_for_bit(
    ray_engine: RayEngine, tmp_path: Path
):
    plan = write_small_job(tmp_path, rounds=3)
    whole = execute(plan, run_dir=tmp_path / "whole")

    def kill_in_the_second_round(event: Event) -> None:
        if event.kind == "round_started" and event.round == 1:
            os.kill(ray_engine.processes()[OWNER], signal.SIGKILL)

    folder = tmp_path / "run"
    with pytest.raises(RunError, match=f"device {OWNER} is lost: its process has ended") as caught:
        execute(
            plan,
            run_dir=folder,
            engine=ray_engine,
            on_event=kill_in_the_second_round,
            on_loss="stop",
        )
    assert caught.value.exit_code == 20
    assert f"gaisnet execute --engine ray --resume {folder}" in str(caught.value.hint)
    assert OWNER in ray_engine.watch()
    resumed = execute(None, resume=folder, engine=ray_engine)
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256
    assert [m.traffic for m in resumed.metrics] == [m.traffic for m in whole.metrics]
    assert ray_engine.watch() == frozenset()


@pytest.mark.parametrize(
    ("lost", "fault"),
    [("owner-c", signal.SIGKILL), ("edge-0", signal.SIGKILL), ("owner-b", signal.SIGSTOP)],
)
def test_a_run_goes_on_without_a_device_that_is_killed_or_frozen_in_a_round(
    ray_engine: RayEngine, tmp_path: Path, lost: str, fault: signal.Signals
):
    """A stage holder, an edge, an owner: as on the embedded engine, bit for bit, whenever in the
    round it was."""
    plan = write_small_job(tmp_path, rounds=3, helped=True)
    found: list[Event] = []
    process: list[int] = []

    def strike(event: Event) -> None:
        found.append(event)
        if event.kind == "round_started" and event.round == 1 and not process:
            process.append(ray_engine.processes()[lost])
            # Somewhere in the round.
            threading.Timer(0.2, os.kill, (process[0], fault)).start()

    result = execute(plan, run_dir=tmp_path / "run", engine=ray_engine, on_event=strike)
    (replanned,) = [event for event in found if event.kind == "replanned"]
    assert replanned.device == lost
    left_out = [m.round for m in result.metrics if lost in m.rejected]
    engine = Losing(lost, "get_modules", left_out[0] if left_out else -1)
    engine.own = True

    def take_away(event: Event) -> None:
        engine.follow(event)
        if event.kind == "round_started" and event.round == replanned.round:
            engine.gone.add(lost)

    expected = execute(plan, run_dir=tmp_path / "here", engine=engine, on_event=take_away)
    if fault == signal.SIGSTOP:  # it comes back, and does no harm
        os.kill(process[0], signal.SIGCONT)
    assert result.manifest.tunable_sha256 == expected.manifest.tunable_sha256
    assert (result.manifest.epoch, result.manifest.status) == (1, "done")


def test_a_replayed_frame_ends_the_run_with_20_and_it_is_resumed_bit_for_bit(
    ray_engine: RayEngine, tmp_path: Path
):
    """Activations of the first round come again in the second one, before whatever is due."""
    import ray

    old: list[bytes] = []

    def keep(sender: str, receiver: str, frame: Buffer) -> None:
        if receiver == "edge-0" and read_header(frame).kind == "activation":
            old.append(bytes(frame))

    plan = write_small_job(tmp_path, rounds=3)
    whole = execute(plan, run_dir=tmp_path / "whole", engine=LocalEngine(tap=keep))

    def replay(event: Event) -> None:
        """Under every name that a frame is going to have there."""
        if event.kind == "round_started" and event.round == 1:
            frame, actor = old[0], ray_engine.handles["edge-0"]
            lane = f"{ray_engine._issuer('edge-0')}/0"
            names = [f"{lane}:{number}.0" for number in range(600)]
            ray.get([actor.accept.remote(each, frame) for each in names], timeout=60)

    os.kill(ray_engine.processes()["edge-0"], signal.SIGKILL)  # the next one counts from 0
    assert "edge-0" in ray_engine.watch()
    folder = tmp_path / "run"
    refused = "expects a frame of|was to be sent to"
    with pytest.raises(RunError, match=refused) as caught:
        execute(plan, run_dir=folder, engine=ray_engine, on_event=replay)
    assert caught.value.exit_code == 20
    assert f"gaisnet execute --engine ray --resume {folder}" in str(caught.value.hint)
    resumed = execute(None, resume=folder)
    assert resumed.manifest.tunable_sha256 == whole.manifest.tunable_sha256


def test_a_device_that_computes_for_far_too_long_is_lost(ray_engine: RayEngine):
    """It answers all the time, but goes on for a fiftieth of the time only."""
    from gaisnet.executor.engines.ray.patience import Patience
    from gaisnet.executor.engines.ray.peer import PeerEngine

    place(ray_engine)
    process = psutil.Process(ray_engine.processes()[A.device])
    impatient = PeerEngine("slow#1", ray_engine.handles, Patience(8.0, 1.0), lambda: False)
    with slowed(process, 50):
        impatient.call(A, "make", B.device, 2**26, makes=1)
        with pytest.raises(LostDeviceError, match="it has computed for") as caught:
            impatient.settle()
    assert caught.value.where == A.device
    assert A.device not in ray_engine.watch(), "others have more patience"


def test_a_device_that_ended_since_the_last_run_is_started_again_for_the_next(
    ray_engine: RayEngine, tmp_path: Path
):
    plan = write_small_job(tmp_path, rounds=1)
    whole = execute(plan, run_dir=tmp_path / "whole")
    os.kill(ray_engine.processes()[OWNER], signal.SIGKILL)
    again = execute(plan, run_dir=tmp_path / "again", engine=ray_engine)
    assert again.manifest.tunable_sha256 == whole.manifest.tunable_sha256
    assert again.manifest.epoch == 0, "nothing was planned again"


def test_what_a_device_answered_before_it_was_killed_is_no_sign_of_life(ray_engine: RayEngine):
    import ray

    health = ray_engine.health
    health._ask(OWNER, time.monotonic())
    ray.get(health._asked[OWNER][0], timeout=60)
    os.kill(ray_engine.processes()[OWNER], signal.SIGKILL)
    assert OWNER in ray_engine.watch()


def test_a_frozen_device_is_lost_and_named_and_takes_no_other_with_it(ray_engine: RayEngine):
    place(ray_engine)
    before = ray_engine.watch()
    assert not before & {A.device, B.device, C.device}
    process = ray_engine.processes()[OWNER]
    os.kill(process, signal.SIGSTOP)
    try:
        assert ray_engine.watch() == before | {OWNER}
        with pytest.raises(LostDeviceError, match="has not answered for") as caught:
            _ = ray_engine.call(C, "take", 1.0).values
        assert caught.value.where == OWNER
        (parcel,) = ray_engine.call(A, "make", B.device, 3, makes=1).parcels
        found = ray_engine.call(B, "take", 1.0, parcels=[ray_engine.send(parcel, B)])
        assert found.values == {"sum": 3.0}
    finally:
        os.kill(process, signal.SIGCONT)
