"""A plan on several machines: nodes of unequal limits behind links of their own rate and latency.

Machines are network namespaces; where this process may not make any, addresses of loopback.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
import torch

from gaisnet.executor.run import RunResult, execute
from gaisnet.schema.catalogue import preset
from gaisnet.schema.files import canonical_json, read_lines, read_model
from gaisnet.schema.profile import Profile
from gaisnet.schema.run import Event, RoundMetrics, RunManifest
from gaisnet.testing import write_small_job
from tests.cluster.network import Loopback, Network, can_make_networks
from tests.cluster.nodes import Cluster
from tests.cluster.slowness import slowed
from tests.executor.faults.fragile import FragileEngine

pytestmark = pytest.mark.timeout(900)  # three nodes and as many processes, on a busy machine

NAMES = ("edge-0", "owner-a", "owner-b")
ROUNDS = 4
LIMIT_S, PATIENCE = 180.0, 15.0
BOARDS = ("raspberry-pi-5-8gb", "raspberry-pi-4b-4gb")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_job(tmp_path_factory.mktemp("machines"), clusters=1, rounds=ROUNDS)


@pytest.fixture(scope="module")
def whole(plan: Path) -> RunResult:
    """On the embedded engine, and nothing happens."""
    return execute(plan, run_dir=plan.parent / "whole")


@pytest.fixture(scope="module")
def cluster(plan: Path) -> Iterator[Cluster]:
    profiles = {}
    for name, board in zip(NAMES, cycle(BOARDS), strict=False):
        profiles[name] = plan.parent / f"{name}-profile.json"
        profiles[name].write_text(canonical_json(Profile(device=preset(board))))
    made = Network(NAMES, 50e6, 0.005) if can_make_networks() else Loopback(NAMES)
    with made as network, Cluster(network, profiles, plan.parent, ["--inline"]) as found:
        yield found


@pytest.mark.smoke
def test_every_device_is_found_as_it_should_be(plan: Path, cluster: Cluster):
    done = cluster.ask("doctor", "--plan", str(plan), "--format", "json")
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert {f["device"] for f in findings if f["check"] == "reachable" and f["ok"]} == set(NAMES)


@pytest.mark.smoke
def test_the_run_is_the_embedded_engines_bit_for_bit_and_its_bytes_are_on_the_wire(
    plan: Path, cluster: Cluster, whole: RunResult, tmp_path: Path
):
    before = cluster.network.sent_bytes()
    folder = tmp_path / "there"
    words = ["execute", str(plan), "--engine", "ray", "--patience", "15", "-o", str(folder)]
    done = cluster.ask(*words)
    assert done.returncode == 0, done.stderr
    manifest = read_model(folder / "manifest.json", RunManifest)
    assert manifest.engine == "ray"
    assert manifest.tunable_sha256 == whole.manifest.tunable_sha256
    metrics = read_lines(folder / "metrics.jsonl", RoundMetrics)
    assert [m.traffic for m in metrics] == [m.traffic for m in whole.metrics]
    sent = {name: 0 for name in NAMES}
    for link in (link for each in metrics for link in each.traffic):
        sent[link.sender] += link.frame_bytes
    assert all(sent.values())
    after = cluster.network.sent_bytes()
    assert all(after[name] - before[name] >= sent[name] for name in after)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: nothing computed on one")
def test_on_a_gpu_a_run_and_its_resume_are_the_embedded_engines_bit_for_bit_too(
    plan: Path, cluster: Cluster, tmp_path: Path
):
    whole = execute(plan, run_dir=tmp_path / "whole", compute="cuda")
    folder = str(tmp_path / "there")
    words = ["--engine", "ray", "--patience", "15"]
    begun = cluster.ask(
        "execute", str(plan), *words, "--compute", "cuda", "--rounds=2", "-o", folder
    )
    assert begun.returncode == 0, begun.stderr
    done = cluster.ask("execute", "--resume", folder, *words, "--rounds", str(ROUNDS))
    assert done.returncode == 0, done.stderr
    manifest = read_model(tmp_path / "there" / "manifest.json", RunManifest)
    assert manifest.engine == "ray"
    assert manifest.compute == whole.manifest.compute == dict.fromkeys(NAMES, "cuda")
    assert manifest.tunable_sha256 == whole.manifest.tunable_sha256
    metrics = read_lines(tmp_path / "there" / "metrics.jsonl", RoundMetrics)
    assert [m.traffic for m in metrics] == [m.traffic for m in whole.metrics]


# Faults: from the mildest to the one after which a node does not come back.


def begun(cluster: Cluster, plan: Path, folder: Path, patience: float) -> subprocess.Popen[str]:
    """A run that is in its second round."""
    words = ["execute", str(plan), "--engine", "ray", "-o", str(folder)]
    process = cluster.begin(*words, "--patience", str(patience))
    until = time.monotonic() + LIMIT_S
    while '"round": 1' not in told(folder):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    return process


def told(folder: Path) -> str:
    events = folder / "events.jsonl"
    return events.read_text() if events.exists() else ""


def ended(process: subprocess.Popen[str]) -> int:
    """Exit code; what a run that failed has said is shown."""
    said = process.communicate(timeout=LIMIT_S)[1]
    sys.stderr.write(said[-2000:])
    return process.returncode


def test_a_run_takes_the_processes_that_wait_and_others_wait_after_it(
    plan: Path, cluster: Cluster, tmp_path: Path
):
    waited = {name: cluster.waiting(name) for name in NAMES}
    process = begun(cluster, plan, tmp_path / "run", PATIENCE)
    assert {name: cluster.process(name) for name in NAMES} == waited
    assert ended(process) == 0
    assert all(cluster.waiting(name).pid != waited[name].pid for name in NAMES)


def test_a_device_that_is_ten_times_slower_makes_no_difference_to_the_bits(
    plan: Path, cluster: Cluster, whole: RunResult, tmp_path: Path
):
    process = begun(cluster, plan, tmp_path / "run", PATIENCE)
    with slowed(cluster.process("owner-b"), 10):
        assert ended(process) == 0
    found = read_model(tmp_path / "run" / "manifest.json", RunManifest)
    assert (found.epoch, found.tunable_sha256) == (0, whole.manifest.tunable_sha256)


def test_a_driver_that_is_stopped_for_long_goes_on_and_one_that_is_killed_is_resumed(
    plan: Path, cluster: Cluster, whole: RunResult, tmp_path: Path
):
    folder, patience = tmp_path / "run", 3.0
    process = begun(cluster, plan, folder, patience)
    process.send_signal(signal.SIGSTOP)
    time.sleep(patience * 2.0 + 1.0)  # longer than a device would have
    process.send_signal(signal.SIGCONT)
    until = time.monotonic() + LIMIT_S
    while '"round": 2' not in told(folder):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "device_lost" not in told(folder)
    process.kill()
    assert ended(process) == -signal.SIGKILL
    words = ["--engine", "ray", "--patience", str(PATIENCE)]
    done = cluster.ask("execute", "--resume", str(folder), *words)
    assert done.returncode == 0, done.stderr
    found = read_model(folder / "manifest.json", RunManifest)
    assert (found.epoch, found.tunable_sha256) == (1, whole.manifest.tunable_sha256)


@pytest.mark.skipif(not can_make_networks(), reason="loopback cannot be cut")
@pytest.mark.parametrize("others", [["owner-a"], ["owner-a", "edge-0"]], ids=["link", "machine"])
def test_a_run_goes_on_without_a_device_that_is_silently_cut_off(
    plan: Path, cluster: Cluster, tmp_path: Path, others: list[str]
):
    """From one that sends to it, of which whoever runs the plan sees nothing; or from all."""
    assert isinstance(cluster.network, Network)
    folder = tmp_path / "run"
    process = begun(cluster, plan, folder, 5.0)
    cluster.network.cut("owner-b", others)
    try:
        assert ended(process) == 0
    finally:
        cluster.network.mend("owner-b", others)
    events = read_lines(folder / "events.jsonl", Event)
    (lost,) = [event for event in events if event.kind == "device_lost"]
    (replanned,) = [event for event in events if event.kind == "replanned"]
    assert lost.device == "owner-b"
    if others == ["owner-a"]:  # a machine that is cut off is found dead by Ray about as soon
        assert "has not answered for" in lost.detail
    engine = FragileEngine()

    def take_away(event: Event) -> None:
        if event.kind == "round_started" and event.round == replanned.round:
            engine.gone |= {"owner-b", "owner-c", "edge-1"}  # these were never there

    expected = execute(plan, run_dir=tmp_path / "here", engine=engine, on_event=take_away)
    found = read_model(folder / "manifest.json", RunManifest)
    assert (found.epoch, found.tunable_sha256) == (1, expected.manifest.tunable_sha256)
