"""A plan on several machines: nodes of unequal limits behind links of their own rate and latency.

Machines are network namespaces; where this process may not make any, addresses of loopback.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from gaisnet.executor.run import execute
from gaisnet.schema.catalogue import preset
from gaisnet.schema.files import canonical_json, read_lines, read_model
from gaisnet.schema.profile import Profile
from gaisnet.schema.run import RoundMetrics, RunManifest
from gaisnet.testing import write_small_job
from tests.cluster.network import Loopback, Network, can_make_networks
from tests.cluster.nodes import Cluster

pytestmark = pytest.mark.timeout(900)  # three nodes and as many processes, on a busy machine

NAMES = ("edge-0", "owner-a", "owner-b")
BOARDS = ("raspberry-pi-5-8gb", "raspberry-pi-4b-4gb")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_job(tmp_path_factory.mktemp("machines"), clusters=1)


@pytest.fixture(scope="module")
def cluster(plan: Path) -> Iterator[Cluster]:
    profiles = {}
    for name, board in zip(NAMES, cycle(BOARDS), strict=False):
        profiles[name] = plan.parent / f"{name}-profile.json"
        profiles[name].write_text(canonical_json(Profile(device=preset(board))))
    made = Network(NAMES, 50e6, 0.005) if can_make_networks() else Loopback(NAMES)
    with made as network, Cluster(network, profiles, plan.parent, ["--inline"]) as found:
        yield found


def test_every_device_is_found_as_it_should_be(plan: Path, cluster: Cluster):
    done = cluster.ask("doctor", "--plan", str(plan), "--format", "json")
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert {f["device"] for f in findings if f["check"] == "reachable" and f["ok"]} == set(NAMES)


def test_the_run_is_the_embedded_engines_bit_for_bit_and_its_bytes_are_on_the_wire(
    plan: Path, cluster: Cluster, tmp_path: Path
):
    before = cluster.network.sent_bytes()
    folder = tmp_path / "there"
    words = ["execute", str(plan), "--engine", "ray", "--patience", "15", "-o", str(folder)]
    done = cluster.ask(*words)
    assert done.returncode == 0, done.stderr
    here = execute(plan, run_dir=tmp_path / "here")
    manifest = read_model(folder / "manifest.json", RunManifest)
    assert manifest.engine == "ray"
    assert manifest.tunable_sha256 == here.manifest.tunable_sha256
    metrics = read_lines(folder / "metrics.jsonl", RoundMetrics)
    assert [m.traffic for m in metrics] == [m.traffic for m in here.metrics]
    sent = {name: 0 for name in NAMES}
    for link in (link for each in metrics for link in each.traffic):
        sent[link.sender] += link.frame_bytes
    assert all(sent.values())
    after = cluster.network.sent_bytes()
    assert all(after[name] - before[name] >= sent[name] for name in after)
