"""Whoever conducts a round waits only for what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gaisnet.executor.conductor import CONDUCTOR
from gaisnet.executor.engines import Address, LocalEngine
from gaisnet.executor.engines.base import Parcel, Reply
from gaisnet.executor.run import execute
from gaisnet.testing import write_small_job


class Strict(LocalEngine):
    """Fails where an engine on other machines would wait to learn how many frames there are."""

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = None,
    ) -> Reply:
        reply = super().call(address, method, *arguments, parcels=parcels, makes=makes)
        self.unpromised += makes is None and address.service in self.watched
        return reply if makes is not None else Unpromised(reply)

    unpromised = 0
    watched = frozenset({CONDUCTOR, "holder", "coordinator"})


class Unpromised:
    """A reply whose frames nobody may look at."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.task: int | None = None

    def __getattr__(self, name: str) -> Any:
        assert name != "parcels", "looking at frames whose number was not promised waits for them"
        return getattr(self._reply, name)


@pytest.mark.parametrize("topology", ["u_shape", "vanilla"])
def test_no_round_waits_to_learn_how_many_frames_a_call_has_made(tmp_path: Path, topology: str):
    plan = write_small_job(tmp_path, topology=topology, rounds=1, microbatches=2)
    engine = Strict()
    assert execute(plan, run_dir=tmp_path / "run", engine=engine).manifest.status == "done"
    assert engine.unpromised > 0, "placing and checkpoints ask so; nothing was watched otherwise"
