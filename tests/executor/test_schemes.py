"""Every scheme is a plan: what the planner writes runs, and its bytes are what it predicted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gaisnet.executor.run import execute
from gaisnet.planner import plan
from gaisnet.schema.files import canonical_json
from gaisnet.schema.job import Service
from tests.executor.hfsl import cluster
from tests.executor.jobs import write_job

OWNERS = {"a": 8, "b": 8, "c": 8, "d": 8}
SERVICE = Service(id="ask", rate_per_s=0.1, data="held-out.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A job whose own plan is thrown away."""
    path = tmp_path_factory.mktemp("schemes")
    write_job(
        path,
        [cluster("c0", OWNERS, [1, 4], devices=["helper"])],
        cloud="sky",
        services=[SERVICE],
        rounds=2,
        microbatches=2,
    )
    return path


@pytest.mark.parametrize("scheme", ["hfsl", "fl", "sl", "sfl-v1", "sfl-v2", "central"])
@pytest.mark.parametrize("topology", ["u_shape", "vanilla"])
def test_a_planned_scheme_runs_and_sends_what_was_predicted(folder, scheme, topology):
    job = json.loads((folder / "job.json").read_text())
    job["fine_tuning"]["topology"] = topology
    (folder / "job.json").write_text(json.dumps(job))
    made = plan(folder / "job.json", scheme=scheme)
    path = folder / f"{scheme}-{topology}.json"
    path.write_text(canonical_json(made))
    result = execute(path, run_dir=folder / f"run-{scheme}-{topology}")
    metered = {(t.sender, t.receiver): t.payload_bytes for t in result.metrics[-1].traffic}
    predicted = {(p.sender, p.receiver): p.payload_bytes_per_round for p in made.predictions.links}
    if scheme == "central":  # the data is uploaded once, not in every round
        predicted = {link: n for link, n in predicted.items() if link[0] not in OWNERS}
    assert metered == predicted
    assert result.manifest.status == "done"
    assert [s.service for s in result.services] == ["ask"]
    last = result.metrics[-1]
    # Predicted without frame headers and without the overlap of owners' turns.
    assert 0.5 * last.virtual_s <= last.predicted_s <= 1.5 * last.virtual_s
