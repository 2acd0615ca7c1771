"""What devices compute on: who says so, who is refused, and that nothing else decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from gaisnet.errors import MismatchError, ModelError, RunError, UsageError
from gaisnet.executor.compute import computed, own_compute
from gaisnet.executor.engines.base import Answer
from gaisnet.executor.placement import check_compute, compute_finding, planned_compute
from gaisnet.executor.planfiles import read_plan
from gaisnet.executor.run import execute
from gaisnet.models.accelerator import refusals_of_the_gpu
from gaisnet.nodes.settings import COMPUTE_VARIABLE
from gaisnet.profiler.power import modelled_power
from gaisnet.schema.files import canonical_json, sha256_file
from gaisnet.schema.profile import DevicePart, Profile
from gaisnet.testing import DEVICES, write_small_job

without_a_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

CLOSE = 1e-4
"""Of adapters after two rounds, relative to their norm: a GPU sums in another order than a CPU."""


def give_profile(plan: Path, device: str, kind: str, origin: str = "measured") -> Path:
    """Let a device of the small job have a profile instead of figures; returns the plan again."""
    folder = plan.parent
    part = DevicePart.model_validate(
        {
            "name": "some",
            "kind": kind,
            "origin": origin,
            "source": "a test",
            "peak_flops_per_s": {"float32": 1e9},
            "sustained_flops_per_s": {"float32": 1e9},
            "memory_bandwidth_bytes_per_s": 1e9,
            "memory_bytes": 10**9,
            "memory_source": "meminfo",
            "op_overhead_s": 1e-6,
            "power": modelled_power(1),
        }
    )
    name = f"{device}-profile.json"
    (folder / name).write_text(canonical_json(Profile(device=part)))
    fleet = json.loads((folder / "fleet.json").read_text())
    (one,) = (each for each in fleet["devices"] if each["id"] == device)
    one.update(profile=name, figures=None)
    (folder / "fleet.json").write_text(json.dumps(fleet))
    told = json.loads(plan.read_text())
    told["inputs"]["fleet"]["sha256"] = sha256_file(folder / "fleet.json")
    known = told["inputs"].setdefault("device_profiles", {})
    known[device] = {"path": name, "sha256": sha256_file(folder / name)}
    plan.write_text(json.dumps(told))
    return plan


def choice(plan: Path, *given: Any) -> Mapping[str, str]:
    return planned_compute(read_plan(plan), *given)


def test_a_device_computes_on_what_its_profile_was_measured_on(tmp_path: Path) -> None:
    plan = give_profile(write_small_job(tmp_path), "edge-0", "cuda")
    give_profile(plan, "edge-1", "cpu")
    give_profile(plan, "owner-a", "cuda", "extrapolated")
    expected = dict.fromkeys(DEVICES, "cpu")
    assert choice(plan) == expected | {"edge-0": "cuda"}


@pytest.mark.parametrize("wish", ["cpu", "cuda"])
def test_whoever_runs_the_plan_decides_for_all_devices(tmp_path: Path, wish: str) -> None:
    plan = give_profile(write_small_job(tmp_path), "edge-0", "cuda")
    assert choice(plan, wish) == dict.fromkeys(DEVICES, wish)


def test_what_a_run_computed_on_before_stays(tmp_path: Path) -> None:
    plan = give_profile(write_small_job(tmp_path), "edge-0", "cuda")
    found = choice(plan, "auto", {"edge-0": "cpu", "owner-a": "cuda", "gone": "cuda"})
    assert found == dict.fromkeys(DEVICES, "cpu") | {"owner-a": "cuda"}


@pytest.mark.parametrize(("told", "expected"), [(None, None), ("cpu", "cpu"), ("cuda", "cuda")])
def test_a_node_may_have_been_told(
    monkeypatch: pytest.MonkeyPatch, told: str | None, expected: str | None
) -> None:
    monkeypatch.delenv(COMPUTE_VARIABLE, raising=False)
    if told is not None:
        monkeypatch.setenv(COMPUTE_VARIABLE, told)
    assert own_compute() == expected


def test_a_node_that_was_told_nonsense_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPUTE_VARIABLE, "gpu")
    with pytest.raises(UsageError, match="'gpu'"):
        own_compute()


@without_a_gpu
@pytest.mark.parametrize("wish", [None, "cuda"])
def test_a_device_that_is_to_compute_on_a_gpu_is_refused_without_one(
    tmp_path: Path, wish: Any
) -> None:
    plan = give_profile(write_small_job(tmp_path), "edge-0", "cuda")
    with pytest.raises(MismatchError, match="no GPU") as caught:
        execute(plan, run_dir=tmp_path / "run", compute=wish)
    assert caught.value.where == ("edge-0" if wish is None else min(DEVICES))
    assert "--compute cpu" in str(caught.value.hint)
    assert not (tmp_path / "run").exists()


def test_the_node_of_a_device_has_the_last_word_and_the_manifest_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = give_profile(write_small_job(tmp_path, rounds=1), "edge-0", "cuda")
    monkeypatch.setenv(COMPUTE_VARIABLE, "cpu")
    done = execute(plan, run_dir=tmp_path / "run")
    assert done.manifest.compute == dict.fromkeys(DEVICES, "cpu")


def test_a_resumed_run_computes_on_what_it_did(tmp_path: Path) -> None:
    plan = give_profile(write_small_job(tmp_path), "edge-0", "cuda")
    run = tmp_path / "run"
    execute(plan, run_dir=run, rounds=1, compute="cpu")
    done = execute(None, resume=run, rounds=2)
    assert done.manifest.compute == dict.fromkeys(DEVICES, "cpu")


@pytest.mark.parametrize(
    ("planned", "own", "gpu", "found", "ok"),
    [
        ("cpu", None, None, "cpu", True),
        ("cpu", None, "H100", "cpu", True),
        ("cuda", None, "H100", "cuda: H100", True),
        ("cuda", None, None, "cuda: torch finds no GPU", False),
        ("cuda", "cpu", "H100", "cpu", False),
        ("cpu", "cuda", "H100", "cuda: H100", False),
        ("cuda", "cuda", "H100", "cuda: H100", True),
    ],
)
def test_a_look_at_a_device_says_what_it_would_compute_on(
    planned: Any, own: Any, gpu: str | None, found: str, ok: bool
) -> None:
    finding = compute_finding("edge-0", planned, own, gpu)
    assert (finding.found, finding.expected, finding.ok) == (found, planned, ok)
    assert bool(finding.advice) != ok


@without_a_gpu
def test_a_look_at_a_plan_finds_the_device_that_needs_a_gpu(tmp_path: Path) -> None:
    plan = give_profile(write_small_job(tmp_path), "edge-0", "cuda")
    findings = check_compute(read_plan(plan))
    assert [f.device for f in findings] == sorted(DEVICES)
    assert [f.device for f in findings if not f.ok] == ["edge-0"]


def test_a_full_gpu_and_sums_without_an_order_are_told_in_our_words() -> None:
    def full() -> Answer:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def other() -> Answer:
        raise RuntimeError("something else")

    for work, message in ((full, "no memory left"), (unordered, "torch's put_ gives other bits")):
        with pytest.raises(RunError, match=message) as caught:
            computed("edge-0", work)
        assert caught.value.where == "edge-0"
        assert "--compute cpu" in str(caught.value.hint)
    with pytest.raises(RuntimeError, match="something else"):
        computed("edge-0", other)


def test_a_profile_says_that_memory_is_too_small() -> None:
    with pytest.raises(ModelError, match="no memory left") as caught, refusals_of_the_gpu("model"):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert (caught.value.exit_code, caught.value.where) == (11, "model")
    assert "--compute cpu" in str(caught.value.hint)


def test_a_profile_names_the_operator_too() -> None:
    told = pytest.raises(ModelError, match="torch's put_ gives other bits")
    with told as caught, refusals_of_the_gpu("a/model"):
        unordered()
    assert caught.value.where == "a/model"
    assert "--compute cpu" in str(caught.value.hint)
    with pytest.raises(RuntimeError, match="something else"), refusals_of_the_gpu("a/model"):
        raise RuntimeError("something else")


def unordered() -> Answer:
    """Torch refuses this one on a CPU too, in the words that it has for all of them."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        torch.ones(2).put_(torch.tensor([0]), torch.ones(1))
    finally:
        torch.use_deterministic_algorithms(before)
    return Answer()
