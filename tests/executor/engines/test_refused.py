"""Who is not let into a real cluster is told so in time; and clusters that let everybody in.

Devices whose packages are others than the driver's are told of, or refused.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from gaisnet.executor.engines.ray.messages import VERSIONS
from gaisnet.schema.files import read_lines
from gaisnet.schema.run import Event
from tests.executor.engines.loopback import LIMIT_S, Loopback, command, environment, gaisnet
from tests.executor.hfsl import cluster
from tests.executor.jobs import write_job

pytestmark = pytest.mark.timeout(900)

HEAD, OWNER = "edge-0", "a"
_OTHER_VERSION = """
from gaisnet import cli
from gaisnet.executor.engines.ray.messages import VERSIONS

VERSIONS["{package}"] = "999.0"
cli.main()
"""

_NOT_STARTING = """
import sys
from functools import partial
from gaisnet import cli
from gaisnet.executor.engines.ray import checkup
from gaisnet.executor.engines.ray.device import DeviceProcess

class Broken(DeviceProcess):
    def __init__(self, *known):
        raise MemoryError("no room for it")

checkup.RayEngine = partial(checkup.RayEngine, process=Broken)
cli.main()
"""
_OTHER_NOT_STARTING = """
from functools import partial
from gaisnet import cli
from gaisnet.executor.engines.ray import engine
from gaisnet.executor.engines.ray.device import DeviceProcess

class Broken(DeviceProcess):
    def __init__(self, device, *known):
        if device == "{device}":
            raise MemoryError("no room for it")
        super().__init__(device, *known)

engine.RayEngine = partial(engine.RayEngine, process=Broken)
cli.main()
"""
_IMPATIENT = """
from gaisnet import cli
from gaisnet.executor.engines.ray import engine

engine._LET_GO_S = 1.0
cli.main()
"""
_OTHER_RUN = """
import sys
from pathlib import Path
from gaisnet.joining import use_credentials
from gaisnet.nodes.settings import RESOURCE, prepare

address, credentials, device = sys.argv[1:]
use_credentials(Path(credentials), False)
prepare(private=False)
import ray
ray.init(address=address, log_to_driver=False)

class Anything:
    def there(self):
        return True

holder = ray.remote(Anything).options(resources={RESOURCE + device: 1.0}, num_cpus=0).remote()
assert ray.get(holder.there.remote(), timeout=100)
print("held", flush=True)
sys.stdin.read()
"""

TOLD_S = 60.0
"""Also on a busy machine, whose Python takes a while to start."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    folder = tmp_path_factory.mktemp("fleet")
    found = Loopback(folder, [HEAD, OWNER])
    try:
        found.join(0)
        found.await_port()
        yield found
    finally:
        found.close()


def ask(*words: str | Path, home: Path | None = None) -> tuple[int, str]:
    done = subprocess.run(
        command(*words),
        capture_output=True,
        text=True,
        timeout=TOLD_S,
        check=False,
        env=environment(home),
    )
    return done.returncode, done.stderr


def test_a_run_with_credentials_of_another_fleet_ends_at_once_with_22(
    fleet: Loopback, tmp_path: Path
):
    """Ray itself would ask on for ever, and end by SIGKILL alone."""
    host = fleet.address.partition(":")[0]
    other = tmp_path / "other"
    assert gaisnet("certs", other, "--device", HEAD, "--host", host).returncode == 0
    plan = write_job(tmp_path, [cluster("c0", {OWNER: 8}, [1, 3], devices=[HEAD])], rounds=1)
    words = ["execute", plan, "-o", tmp_path / "run", "--engine", "ray", "--address"]
    code, told = ask(*words, fleet.address, "--credentials", other / HEAD)
    assert (code, "the head's certificate does not fit this device's" in told) == (22, True), told
    code, told = ask(*words, f"{host}:1", "--credentials", other / HEAD)
    assert (code, "nobody answers" in told) == (20, True), told
    assert not (tmp_path / "run").exists()


def test_a_device_with_another_token_is_told_so(fleet: Loopback, tmp_path: Path):
    mixed = tmp_path / "mixed"
    shutil.copytree(fleet.folder / "fleet" / OWNER, mixed)
    (mixed / "token").write_text("0" * 64)
    words = ["join", "--address", fleet.address, "--device", OWNER, "--profile", fleet.profile]
    code, told = ask(*words, "--credentials", mixed)
    assert (code, "does not take this token" in told) == (22, True), told
    code, told = ask(*words, "--insecure")
    assert (code, "who shows no certificate" in told) == (22, True), told


def test_a_head_whose_certificate_is_for_another_address_is_told_so(
    fleet: Loopback, tmp_path: Path
):
    """Its own processes do not speak with it, and Ray would wait for them without end."""
    made = gaisnet("certs", tmp_path / "fleet", "--device", HEAD, "--host", "10.0.0.1")
    assert made.returncode == 0, made.stderr
    address = f"127.0.0.9:{fleet.address.partition(':')[2]}"
    words = ["join", "--head", "--address", address, "--device", HEAD]
    shown = ["--profile", fleet.profile, "--credentials", tmp_path / "fleet" / HEAD]
    code, told = ask(*words, *shown)
    assert (code, "does not fit this device's" in told) == (22, True), told


def ask_with_another(package: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """What a driver says that has one package in a version that no device has."""
    return ask_script(_OTHER_VERSION.format(package=package), *words)


def ask_script(script: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env=environment(),
    )


def test_a_device_with_another_gaisnet_is_told_of_before_anything_is_written(tmp_path: Path):
    plan = write_job(tmp_path, [cluster("c0", {OWNER: 8}, [1, 3], devices=[HEAD])], rounds=1)
    words = ["execute", plan, "--engine", "ray", "-o", tmp_path / "run"]
    done = ask_with_another("gaisnet", *words)
    found = (
        done.returncode,
        f"it runs gaisnet {version('gaisnet')}, and this is 999.0" in done.stderr,
    )
    assert found == (14, True), done.stderr
    assert not (tmp_path / "run").exists()


def test_doctor_tells_the_versions_of_a_device_with_another_gaisnet_and_asks_it_no_more(
    fleet: Loopback, tmp_path: Path
):
    plan = write_job(tmp_path, [cluster("c0", {OWNER: 8}, [1, 3], devices=[HEAD])], rounds=1)
    words = ["doctor", "--address", fleet.address, "--plan", plan, *fleet.credentials(HEAD)]
    done = ask_with_another("gaisnet", *words, "--format", "json")
    assert (done.returncode, "Traceback" in done.stderr) == (14, False), done.stderr
    found = {(each["device"], each["check"]): each for each in json.loads(done.stdout)["findings"]}
    own = {check for device, check in found if device == HEAD}
    assert own == {"reachable", "process", *VERSIONS}
    assert [each["ok"] for each in found.values()].count(False) == 2
    assert not found[OWNER, "reachable"]["ok"]
    assert found[HEAD, "gaisnet"] == {
        "device": HEAD,
        "check": "gaisnet",
        "found": version("gaisnet"),
        "expected": "999.0",
        "ok": False,
        "advice": "install gaisnet 999.0 there",
    }


def doctor(fleet: Loopback, plan: Path) -> list[str | Path]:
    known = ["--address", fleet.address, "--plan", plan, *fleet.credentials(HEAD)]
    return ["doctor", *known, "--format", "json"]


def processes(done: subprocess.CompletedProcess[str]) -> list[tuple[str, bool, str]]:
    """What a doctor found of devices' processes."""
    assert (done.returncode, "Traceback" in done.stderr) == (14, False), done.stderr
    found = json.loads(done.stdout)["findings"]
    assert {each["check"] for each in found} == {"reachable", "process"}, "it is asked no more"
    return [(e["device"], e["ok"], e["found"]) for e in found if e["check"] == "process"]


def test_doctor_tells_of_a_device_whose_process_does_not_start(fleet: Loopback, tmp_path: Path):
    plan = write_job(tmp_path, [cluster("c0", {OWNER: 8}, [1, 3], devices=[HEAD])], rounds=1)
    done = ask_script(_NOT_STARTING, *doctor(fleet, plan))
    assert processes(done) == [(HEAD, False, "MemoryError: no room for it")]


def test_a_device_that_another_run_has_is_told_of_and_free_again_after_it(
    fleet: Loopback, tmp_path: Path
):
    plan = write_job(tmp_path, [cluster("c0", {OWNER: 8}, [1, 3], devices=[HEAD])], rounds=1)
    (tmp_path / "alone").mkdir()
    alone = write_job(tmp_path / "alone", [cluster("c0", {HEAD: 8}, [1, 3], devices=[HEAD])])
    execute = ["execute", alone, "-o", tmp_path / "run", "--engine", "ray"]
    execute += ["--address", fleet.address, *fleet.credentials(HEAD)]
    shown = fleet.credentials(HEAD)[1]
    with subprocess.Popen(
        [sys.executable, "-c", _OTHER_RUN, fleet.address, shown, HEAD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert processes(gaisnet(*doctor(fleet, plan))) == [(HEAD, False, "another run has it")]
        done = ask_script(_IMPATIENT, *execute)
        assert (done.returncode, f"another run has {HEAD}" in done.stderr) == (20, True), (
            done.stderr
        )
        assert not (tmp_path / "run").exists()
        other.communicate("", timeout=LIMIT_S)
    found = json.loads(gaisnet(*doctor(fleet, plan)).stdout)["findings"]
    assert [e["ok"] for e in found if e["check"] == "process"] == [True]


def test_a_device_that_does_not_start_beside_one_that_does_is_named(
    fleet: Loopback, tmp_path: Path
):
    plan = write_job(tmp_path, [cluster("c0", {OWNER: 8}, [1, 3], devices=[HEAD])], rounds=1)
    words = ["execute", plan, "-o", tmp_path / "run", "--engine", "ray"]
    known = ["--address", fleet.address, *fleet.credentials(HEAD)]
    fleet.join(1)
    until = time.monotonic() + LIMIT_S
    while True:
        done = ask_script(_OTHER_NOT_STARTING.format(device=HEAD), *words, *known)
        if "did not join" not in done.stderr or time.monotonic() > until:
            break
    said = f"{HEAD}: its process does not start: MemoryError: no room for it"
    assert (done.returncode, said in done.stderr) == (20, True), done.stderr
    assert not (tmp_path / "run").exists()
    assert fleet.leave(OWNER)[0] == 0


def test_a_run_goes_on_with_another_torch_and_says_that_bits_may_differ(tmp_path: Path):
    plan = write_job(tmp_path, [cluster("c0", {OWNER: 8}, [1, 3], devices=[HEAD])], rounds=1)
    words = ["execute", plan, "--engine", "ray", "-o", tmp_path / "run"]
    done = ask_with_another("torch", *words)
    assert done.returncode == 0, done.stderr
    there = version("torch").partition("+")[0]
    said = f"runs torch {there} (here 999.0): the same bits as elsewhere are not promised"
    events = read_lines(tmp_path / "run" / "events.jsonl", Event)
    told = [(each.device, each.detail) for each in events if each.kind == "versions_differ"]
    assert told == [(device, said) for device in sorted((HEAD, OWNER))]
    assert all(f"{device} {said}" in " ".join(done.stderr.split()) for device, said in told)


def test_several_nodes_join_without_credentials_though_a_token_lies_in_the_users_home(
    tmp_path: Path,
):
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0" * 64)
    fleet = Loopback(tmp_path, [HEAD, OWNER], home)
    try:
        fleet.join(0, ["--insecure"])
        fleet.await_port()
        fleet.join(1, ["--insecure"])
        words = ["drain", OWNER, "--address", fleet.address, "--insecure"]
        until = time.monotonic() + LIMIT_S
        while (found := ask(*words, home=home))[0] == 14:  # it has not joined so far
            assert fleet.joined[OWNER].poll() is None, found
            assert time.monotonic() < until, found
        assert found[0] == 0, found
        assert fleet.joined[OWNER].wait(LIMIT_S) == 0
    finally:
        fleet.close()
