"""What an edge does without the driver: clusters at the same time, halted and forgotten in time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.engines import Address, Engine
from gaisnet.executor.probe import PROBE

if TYPE_CHECKING:  # importing it loads Ray, which reads its settings then
    from gaisnet.executor.engines.ray.engine import RayEngine
    from gaisnet.executor.engines.ray.peer import PeerEngine

pytestmark = pytest.mark.timeout(900)  # five processes that import torch, on a busy machine

A, B = Address("edge-0", PROBE), Address("edge-1", PROBE)
WAIT_S = 60.0


def peer(engine: RayEngine, name: str) -> PeerEngine:
    from gaisnet.executor.engines.ray.patience import Patience
    from gaisnet.executor.engines.ray.peer import PeerEngine

    for address in (A, B):
        engine.place(address, ProbeBlueprint(device=address.device, run="r"))
    engine.settle()
    return PeerEngine(name, engine.handles, Patience.of(10.0, simulated=True), lambda: False)


def exchange(engine: Engine, here: Address, there: Address) -> float:
    (parcel,) = engine.call(here, "make", there.device, 4, makes=1).parcels
    reply = engine.call(there, "take", 1.0, parcels=[engine.send(parcel, there)])
    return float(reply.values["sum"])


def test_what_is_done_together_is_done_at_the_same_time(ray_engine: RayEngine):
    met = threading.Barrier(2)

    def task(engine: Engine, here: Address, there: Address) -> float:
        before = exchange(engine, here, there)
        met.wait(WAIT_S)  # which nobody passes alone
        return before + exchange(engine, here, there)

    both = peer(ray_engine, "together#1")
    for _ in range(2):
        found = both.together([lambda e: task(e, A, B), lambda e: task(e, B, A)])
        assert found == [8.0, 8.0]
        there, back = both.meter.take()
        assert (there.frames, back.frames, there.payload_bytes) == (2, 2, 32)


def test_one_cluster_that_waits_holds_no_other_back_on_a_shared_device(ray_engine: RayEngine):
    both, done = peer(ray_engine, "waits#1"), threading.Event()

    def waits(engine: Engine) -> float:
        first = engine.call(A, "make", B.device, 4, makes=1).parcels[0]
        # B takes what has not been sent yet, while the other goes on there.
        assert done.wait(WAIT_S)
        return float(engine.call(B, "take", 1.0, parcels=[engine.send(first, B)]).values["sum"])

    def goes_on(engine: Engine) -> float:
        found = exchange(engine, A, B)
        done.set()
        return found

    assert both.together([waits, goes_on]) == [4.0, 4.0]


def test_when_one_fails_the_others_are_halted_and_its_error_is_told(ray_engine: RayEngine):
    both = peer(ray_engine, "fails#1")

    def fails(engine: Engine) -> float:
        return float(engine.call(A, "fail", "it broke").values["sum"])

    def goes_on(engine: Engine) -> float:
        while True:  # until it is halted
            exchange(engine, A, B)

    with pytest.raises(RunError, match="it broke"):
        both.together([goes_on, fails])
    assert both.together([lambda engine: exchange(engine, A, B)]) == [4.0]


def test_a_lost_issuer_is_forgotten_and_what_it_asks_later_refused(ray_engine: RayEngine):
    import ray

    one = peer(ray_engine, "lost#1")
    assert exchange(one, A, B) == 4.0
    actors = [ray_engine.handles[address.device] for address in (A, B)]
    ray.get([actor.forget.remote("lost#1") for actor in actors], timeout=WAIT_S)
    with pytest.raises(RunError, match="comes too late"):
        exchange(one, A, B)
    assert exchange(peer(ray_engine, "lost#2"), A, B) == 4.0
