"""An owner that is lost in the middle of a secure sum: the round is done again without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gaisnet.executor.run import execute
from gaisnet.schema.files import read_lines
from gaisnet.schema.job import PrivacySpec
from gaisnet.schema.run import Event
from tests.executor.faults.fragile import FragileEngine
from tests.executor.hfsl import cluster
from tests.executor.jobs import write_job

OWNERS = {"a": 8, "b": 8, "c": 8, "d": 8}
LOST = "d"


@pytest.mark.parametrize("method", ["offer_keys", "seal_shares", "masked_modules", "reveal_shares"])
def test_the_run_goes_on_with_a_sum_over_the_others(tmp_path: Path, method: str):
    clusters = [cluster("c0", OWNERS, [1, 3], devices=["edge-0"])]
    privacy = PrivacySpec(secure_aggregation=True)
    plan = write_job(tmp_path, clusters, rounds=2, privacy=privacy)
    engine = FragileEngine()

    def lose(address: object, asked: str) -> None:
        if asked == method and engine.states()[LOST].calls > 20:
            engine.gone.add(LOST)

    engine.before = lose
    result = execute(plan, run_dir=tmp_path / "run", engine=engine)
    assert result.manifest.status == "done"
    assert engine.gone == {LOST}
    told = read_lines(tmp_path / "run" / "events.jsonl", Event)
    assert [(e.kind, e.device) for e in told if e.kind == "device_lost"] == [("device_lost", LOST)]
    assert [e.kind for e in told].count("replanned") == 1
    assert [m.round for m in result.metrics] == [0, 1]
    assert not any(metrics.rejected for metrics in result.metrics)
