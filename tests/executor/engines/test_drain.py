"""Devices that have joined a real cluster on loopback, with TLS and tokens; one of them leaves."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gaisnet.schema.files import read_lines
from gaisnet.schema.run import Event
from tests.executor.engines.conftest import end
from tests.executor.engines.loopback import LIMIT_S, Loopback, command, environment, gaisnet
from tests.executor.hfsl import cluster
from tests.executor.jobs import write_job

pytestmark = pytest.mark.timeout(900)

HEAD, OWNER = "edge-0", "a"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    folder = tmp_path_factory.mktemp("fleet")
    write_job(
        folder, [cluster("c0", {OWNER: 8}, [1, 3], devices=[HEAD])], rounds=10_000, evaluate=False
    )
    found = Loopback(folder, [HEAD, OWNER])
    try:
        found.join(0)
        found.await_port()
        found.join(1)
        yield found
    finally:
        found.close()


def started_run(fleet: Loopback, run: Path) -> subprocess.Popen[str]:
    """A run that is in its second round."""
    words = ["execute", fleet.folder / "plan.json", "--engine", "ray", "-o", run]
    words += ["--address", fleet.address, "--patience", "15", *fleet.credentials(HEAD)]
    until = time.monotonic() + LIMIT_S
    while True:
        process = subprocess.Popen(
            command(*words),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )
        events = run / "events.jsonl"
        while process.poll() is None:
            if events.exists() and '"round": 1' in events.read_text():
                return process
            time.sleep(0.2)
        told = process.communicate()[1]
        # The other node may not have joined so far.
        assert process.returncode in (14, 20), told
        assert time.monotonic() < until, told


GRPC = {"gcs_server", "raylet"}
"""Ray's own daemons, which cannot be told where to listen; its workers are called ``ray::…``."""


def listens_everywhere(fleet: Loopback) -> dict[int, str]:
    """Names of processes by the ports on which they listen on every address."""
    found = {}
    for process in (each for device in fleet.joined for each in fleet.processes(device)):
        try:
            for each in process.net_connections(kind="inet"):
                everywhere = each.laddr and each.laddr.ip in ("::", "0.0.0.0")
                if each.status == psutil.CONN_LISTEN and everywhere:
                    found[each.laddr.port] = process.name()
        except psutil.NoSuchProcess:
            continue
    return found


def answers(fleet: Loopback, port: int, shown: Path | None) -> bool:
    """Whether a port says anything to who shows a certificate, or none."""
    folder = fleet.folder / "fleet" / HEAD
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    if shown is not None:
        context.load_cert_chain(shown / "cert.pem", shown / "key.pem")
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            context.wrap_socket(plain) as secure,
        ):
            secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
            return secure.recv(64) != b""
    except (ssl.SSLError, ConnectionError):
        return False


def test_what_listens_everywhere_speaks_with_members_alone(fleet: Loopback):
    until = time.monotonic() + LIMIT_S
    while len(GRPC & set(listens_everywhere(fleet).values())) < len(GRPC):
        assert time.monotonic() < until
        time.sleep(0.5)
    found = listens_everywhere(fleet)
    assert {name for name in found.values() if not name.startswith("ray::")} == GRPC
    daemons = sorted(port for port, name in found.items() if name in GRPC)
    assert all(answers(fleet, port, fleet.folder / "fleet" / OWNER) for port in daemons)
    assert not any(answers(fleet, port, None) for port in daemons)


def test_a_drained_device_leaves_when_its_round_is_closed(fleet: Loopback, tmp_path: Path):
    run = tmp_path / "run"
    process = started_run(fleet, run)
    started = psutil.Process(process.pid).children(recursive=True)
    nodes = fleet.processes(OWNER)
    try:
        drained = gaisnet("drain", OWNER, "--address", fleet.address, *fleet.credentials(HEAD))
        told = process.communicate(timeout=LIMIT_S)[1]
    finally:
        if process.poll() is None:
            process.kill()
    assert drained.returncode == 0, drained.stderr
    assert "a has left the cluster" in drained.stderr
    assert process.returncode == 20, told
    assert f"{OWNER} leaves after round" in told
    assert f"--address {fleet.address} --resume {run}" in told
    events = read_lines(run / "events.jsonl", Event)
    assert events[-2].kind == "device_leaving"
    assert events[-2].device == OWNER
    done = [event.round for event in events if event.kind == "round_closed"]
    assert events[-2].round == done[-1]
    assert [path.name for path in sorted((run / "logs").iterdir())] == ["a.log", "edge-0.log"]
    assert "asked to leave" in (run / "logs" / "a.log").read_text()
    said = fleet.joined[OWNER].communicate(timeout=LIMIT_S)[1]
    assert fleet.joined[OWNER].returncode == 0, said
    assert f"{OWNER} leaves" in said
    end([*started, *nodes])


def test_what_cannot_be_drained_is_refused(fleet: Loopback):
    """After the test above the head is alone."""
    head = gaisnet("drain", HEAD, "--address", fleet.address, *fleet.credentials(HEAD))
    assert head.returncode == 2, head.stderr
    assert "the cluster began on edge-0" in head.stderr
    gone = gaisnet("drain", OWNER, "--address", fleet.address, *fleet.credentials(HEAD))
    assert gone.returncode == 14, gone.stderr
    bare = gaisnet("drain", OWNER, "--address", fleet.address)
    assert bare.returncode == 22, bare.stderr
    assert fleet.leave(HEAD)[0] == 0
