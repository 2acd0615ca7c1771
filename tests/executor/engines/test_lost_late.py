"""Owners whose processes are really killed while modules are collected, at a given moment."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gaisnet.executor.run import execute
from gaisnet.schema.job import PrivacySpec
from gaisnet.schema.run import Event
from tests.executor.faults.losing import Losing, events, run
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


def told(folder: Path) -> list[tuple[str, int | None, str | None]]:
    return [(e.kind, e.round, e.device) for e in events(folder)]
