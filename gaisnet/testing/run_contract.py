"""Any engine gives the same run: the same bits, the same bytes sent, the same answers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gaisnet.executor.blueprints import ProbeBlueprint
from gaisnet.executor.engines import Address, Engine
from gaisnet.executor.probe import PROBE
from gaisnet.executor.run import RunResult, execute
from gaisnet.schema.base import Compute
from gaisnet.schema.run import RoundMetrics
from gaisnet.testing.small_job import DEVICES, write_small_job

__all__ = ["RunContract"]

_without_a_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU here: nothing was computed on one"
)


class RunContract:
    """Tests over a fixture ``engine``, held against the embedded engine, which computes on the
    same: on a GPU too, where there is one."""

    @pytest.fixture(params=["cpu", pytest.param("cuda", marks=_without_a_gpu)])
    def compute(self, request: pytest.FixtureRequest) -> Compute:
        """What all devices compute on."""
        chosen: Compute = request.param
        return chosen

    @pytest.mark.parametrize(
        ("topology", "microbatches"), [("u_shape", 1), ("vanilla", 1), ("u_shape", 2)]
    )
    def test_a_plan_gives_the_same_run_bit_for_bit(
        self,
        engine: Engine,
        tmp_path: Path,
        topology: str,
        microbatches: int,
        compute: Compute,
    ) -> None:
        plan = write_small_job(tmp_path, topology=topology, microbatches=microbatches)
        here = execute(plan, run_dir=tmp_path / "here", compute=compute)
        _use_for_something_else(engine)
        there = execute(plan, run_dir=tmp_path / "there", engine=engine, compute=compute)
        assert there.manifest.engine == engine.name
        assert there.manifest.compute == here.manifest.compute == dict.fromkeys(DEVICES, compute)
        assert there.manifest.tunable_sha256 == here.manifest.tunable_sha256
        for name in ("adapters", "checkpoints", "answers"):
            assert _content(there, name) == _content(here, name) != {}
        _assert_same_figures(there, here)

    def test_a_run_goes_on_on_another_engine_bit_for_bit(
        self, engine: Engine, tmp_path: Path, compute: Compute
    ) -> None:
        plan = write_small_job(tmp_path, rounds=3)
        whole = execute(plan, run_dir=tmp_path / "whole", compute=compute)
        orders: list[list[str | Engine]] = [["local", engine, "local"], [engine, "local", engine]]
        for number, engines in enumerate(orders):
            folder = tmp_path / f"moved-{number}"
            moved = execute(plan, run_dir=folder, engine=engines[0], rounds=1, compute=compute)
            for rounds, each in enumerate(engines[1:], start=2):
                moved = execute(None, resume=folder, engine=each, rounds=rounds)
            assert moved.manifest.compute == dict.fromkeys(DEVICES, compute)
            assert moved.manifest.tunable_sha256 == whole.manifest.tunable_sha256
            assert _content(moved, "adapters") == _content(whole, "adapters")
            assert [m.traffic for m in moved.metrics] == [m.traffic for m in whole.metrics]


def _use_for_something_else(engine: Engine) -> None:
    """What an engine carried before is no traffic of the run."""
    one, other = (Address(device, PROBE) for device in DEVICES[:2])
    for address in (one, other):
        engine.place(address, ProbeBlueprint(device=address.device, run="another"))
    (parcel,) = engine.call(one, "make", other.device, 3, makes=1).parcels
    found = engine.call(other, "take", 1.0, parcels=[engine.send(parcel, other)])
    assert found.values == {"sum": 3.0}


def _assert_same_figures(there: RunResult, here: RunResult) -> None:
    """Of rounds and services, but for what this machine's clock said."""
    for a, b in zip(there.metrics, here.metrics, strict=True):
        assert _untimed(a) == _untimed(b)
        assert a.traffic
    for served, expected in zip(there.services, here.services, strict=True):
        assert served.model_copy(update={"wall_s": expected.wall_s}) == expected
        assert served.traffic


def _untimed(metrics: RoundMetrics) -> RoundMetrics:
    """All but what this machine's clock said."""
    work = tuple(each.model_copy(update={"wall_s": None}) for each in metrics.work)
    return metrics.model_copy(update={"wall_s": 0.0, "work": work})


def _content(result: RunResult, name: str) -> dict[str, bytes]:
    """Every file below a folder of the run's."""
    folder = result.run_dir / name
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
