"""The process that waits on a device for its next run; how a run takes it: ``test_machines``."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from gaisnet.nodes.node import NodeSpec
from gaisnet.nodes.warm import WARM_PROCESSES, ask_for_another, warm_settings
from gaisnet.schema.catalogue import preset, preset_names
from gaisnet.schema.files import canonical_json
from gaisnet.schema.profile import Profile


@pytest.fixture
def spec(tmp_path: Path) -> NodeSpec:
    path = tmp_path / "me.json"
    path.write_text(canonical_json(Profile(device=preset(preset_names()[0]))))
    return NodeSpec(device="a", profile=path, head=False, address="10.0.0.1:6379")


def test_what_a_process_imports_beforehand_has_what_runs_on_a_device():
    imported = importlib.import_module(warm_settings()["RAY_preload_python_modules"])
    assert imported.DeviceProcess


def test_ray_starts_a_process_with_the_node_and_keeps_as_many_as_it_has_cpus(spec: NodeSpec):
    assert spec.environment({}).items() >= warm_settings().items()
    assert f"--num-cpus={WARM_PROCESSES}" in spec.command()


def test_a_user_can_have_a_node_start_without_one(spec: NodeSpec):
    assert (
        spec.environment({"RAY_enable_worker_prestart": "0"})["RAY_enable_worker_prestart"] == "0"
    )


def test_a_node_that_has_gone_is_not_waited_for():
    ask_for_another({"a": "127.0.0.1:9"})


def test_nobody_is_asked_when_nothing_ran():
    ask_for_another({})
