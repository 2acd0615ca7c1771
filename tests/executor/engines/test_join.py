"""Joining a cluster: what it would start, and whom it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gaisnet.errors import InputError, SecurityError, UsageError
from gaisnet.executor.engines import EngineOptions, make_engine
from gaisnet.executor.engines.ray.patience import Patience
from gaisnet.nodes.node import NodeSpec, profile_label
from gaisnet.nodes.settings import settings
from gaisnet.schema.catalogue import preset, preset_names
from gaisnet.schema.files import canonical_json, sha256_file
from gaisnet.schema.profile import Profile


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "me.json"
    path.write_text(canonical_json(Profile(device=preset(preset_names()[0]))))
    return path


def words(spec: NodeSpec) -> dict[str, str]:
    return dict(word.removeprefix("--").split("=", 1) for word in spec.command() if "=" in word)


def test_a_node_has_its_devices_resource_its_limits_and_its_profiles_hash(profile: Path):
    spec = NodeSpec(device="a", profile=profile, head=False, address="10.0.0.1:6379")
    found = words(spec)
    assert json.loads(found["resources"]) == {"gaisnet:a": 1}
    assert int(found["memory"]) == preset(preset_names()[0]).memory_bytes
    assert found["address"] == "10.0.0.1:6379"
    assert f"gaisnet-profile={sha256_file(profile)[:60]}" in found["labels"]
    assert "--head" not in spec.command()
    assert profile_label(profile) in found["labels"]


def test_a_head_begins_at_its_own_address_without_a_dashboard(profile: Path):
    spec = NodeSpec(
        device="a", profile=profile, head=True, address="10.0.0.1:6379", memory_bytes=10**9
    )
    found = words(spec)
    assert (found["node-ip-address"], found["port"]) == ("10.0.0.1", "6379")
    assert found["include-dashboard"] == "false"
    assert found["memory"] == "1000000000"
    assert "--head" in spec.command()


def test_no_secret_stands_on_the_command_line(profile: Path, tmp_path: Path):
    shown = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    spec = NodeSpec(
        device="a", profile=profile, head=False, address="h:1", credentials=shown, folder=tmp_path
    )
    assert not any("token" in word for word in spec.command())
    found = spec.environment({"RAY_worker_niceness": "7"})
    assert found["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
    assert found["GAISNET_FOLDER"] == str(tmp_path)
    assert found["RAY_worker_niceness"] == "7", "what the user has set stays"


@pytest.mark.parametrize(("compute", "told"), [("auto", None), ("cpu", "cpu"), ("cuda", "cuda")])
def test_a_node_tells_its_processes_what_to_compute_on(profile: Path, compute: Any, told: Any):
    spec = NodeSpec(device="a", profile=profile, head=False, address="h:1", compute=compute)
    assert spec.environment({}).get("GAISNET_COMPUTE") == told


def test_inlining_is_for_links_with_latency():
    size = "RAY_max_direct_call_object_size"
    assert settings(inline=True).keys() - settings().keys() == {"RAY_task_rpc_inlined_bytes_limit"}
    assert int(settings(inline=True)[size]) > int(settings()[size]) > 0


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.1:", "a:b"])
def test_an_address_has_host_and_port(profile: Path, address: str):
    with pytest.raises(UsageError, match="no address"):
        NodeSpec(device="a", profile=profile, head=False, address=address).command()


@pytest.mark.parametrize("host", ["", "127.0.0.1", "localhost", "[::1]", "0.0.0.0"])
def test_a_host_that_ray_takes_for_another_one_is_refused(profile: Path, host: str):
    from gaisnet.nodes.cluster import connect  # loads Ray, which reads its settings

    with pytest.raises(UsageError, match="Ray would take another address"):
        NodeSpec(device="a", profile=profile, head=True, address=f"{host}:6379").command()
    with pytest.raises(UsageError, match="Ray would take another address"):
        connect(f"{host}:6379", ())
    if host not in ("", "[::1]"):
        spec = NodeSpec(device="a", profile=profile, head=False, address="h:1", host=host)
        with pytest.raises(UsageError, match="Ray would take another address"):
            spec.command()


def test_a_profile_of_a_model_alone_says_nothing_of_the_device(tmp_path: Path):
    path = tmp_path / "model.json"
    path.write_text(canonical_json(Profile()))
    with pytest.raises(InputError, match="nothing of a device"):
        NodeSpec(device="a", profile=path, head=False, address="h:1").command()


def test_an_engine_on_other_machines_asks_for_credentials(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RAY_USE_TLS", raising=False)
    with pytest.raises(SecurityError):
        make_engine("ray", ["a"], EngineOptions(address="10.0.0.1:6379"))


@pytest.mark.parametrize(
    ("step_s", "factor", "silence_s"), [(0.0, 1.0, 2.0), (5.0, 1.0, 15.0), (0.1, 3.0, 6.0)]
)
def test_silence_is_bounded_by_three_steps_or_two_seconds(step_s, factor, silence_s):
    found = Patience.of(step_s, factor)
    assert found.silence_s == pytest.approx(silence_s)
    assert found.work_s == pytest.approx(10 * silence_s)
    simulated = Patience.of(step_s, factor, simulated=True)
    assert simulated.silence_s == found.silence_s
    assert simulated.work_s == Patience().work_s
    assert found.start_s == 300.0 * max(1.0, factor)
