"""The same runs on a GPU: close to a CPU's, and the same bits again on the same card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import adaptive_avg_pool2d

from gaisnet.errors import RunError
from gaisnet.executor.compute import computed
from gaisnet.executor.engines import LocalEngine
from gaisnet.executor.inference import Body, ServiceChain, ServiceDesk, Serving
from gaisnet.executor.run import RunResult, execute
from gaisnet.models import check_split
from gaisnet.models.accelerator import place_of
from gaisnet.schema.job import AdamWSpec, PrivacySpec, SgdSpec
from gaisnet.schema.model import FullSpec, LoraSpec
from gaisnet.testing import DEVICES, write_small_job
from tests.executor.hfsl import cluster as training_cluster
from tests.executor.jobs import write_job
from tests.executor.serving import build, cluster, own_generate, prompts
from tests.executor.test_compute import CLOSE, give_profile
from tests.models.tiny import tiny_model

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU here: nothing was computed on one"
)


def adapters(done: RunResult) -> dict[str, torch.Tensor]:
    """Everything that a run tuned."""
    files = sorted((done.run_dir / "adapters").rglob("*.safetensors"))
    return {f"{file.parent.name}/{n}": t for file in files for n, t in load_file(file).items()}


def distance(one: RunResult, other: RunResult) -> float:
    """Of the tuned modules, relative to their norm."""
    mine, theirs = adapters(one), adapters(other)
    assert mine.keys() == theirs.keys() != set()
    both = [(mine[name].double(), theirs[name].double()) for name in mine]
    off = sum(float((a - b).square().sum()) for a, b in both)
    return float((off / sum(float(a.square().sum()) for a, _ in both)) ** 0.5)


@pytest.mark.parametrize("topology", ["u_shape", "vanilla"])
def test_adapters_come_close_to_a_cpus_and_a_run_to_itself_bit_for_bit(
    tmp_path: Path, topology: str
) -> None:
    plan = write_small_job(tmp_path, topology=topology, microbatches=2)
    here = execute(plan, run_dir=tmp_path / "cpu")
    first, again = (execute(plan, run_dir=tmp_path / n, compute="cuda") for n in ("one", "two"))
    assert first.manifest.compute == dict.fromkeys(DEVICES, "cuda")
    assert 0.0 < distance(here, first) < CLOSE
    assert first.manifest.tunable_sha256 == again.manifest.tunable_sha256
    for a, b in zip(here.metrics, first.metrics, strict=True):
        assert a.traffic == b.traffic
        assert b.eval_loss == pytest.approx(a.eval_loss, rel=CLOSE)
    assert all(work.wall_s for metrics in first.metrics for work in metrics.work)


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    plan = write_small_job(tmp_path, rounds=3)
    whole = execute(plan, run_dir=tmp_path / "whole", compute="cuda")
    parts = execute(plan, run_dir=tmp_path / "parts", compute="cuda", rounds=1)
    parts = execute(None, resume=parts.run_dir, rounds=3)
    assert parts.manifest.compute == dict.fromkeys(DEVICES, "cuda")
    assert parts.manifest.tunable_sha256 == whole.manifest.tunable_sha256


def test_one_device_on_a_gpu_among_others_on_the_cpu(tmp_path: Path) -> None:
    plan = write_small_job(tmp_path)
    here = execute(plan, run_dir=tmp_path / "cpu")
    mixed = execute(give_profile(plan, "edge-0", "cuda"), run_dir=tmp_path / "mixed")
    assert mixed.manifest.compute == dict.fromkeys(DEVICES, "cpu") | {"edge-0": "cuda"}
    assert 0.0 < distance(here, mixed) < CLOSE


def test_an_operator_without_an_order_is_refused_by_name() -> None:
    pixels = torch.rand(1, 1, 8, 8, device=place_of("cuda", "edge-0"), requires_grad=True)

    def work() -> None:
        adaptive_avg_pool2d(pixels, 3).sum().backward()

    told = r"torch's adaptive_avg_pool\w* gives other bits each time"
    with pytest.raises(RunError, match=told) as caught:
        computed("edge-0", work)
    assert "--compute cpu" in str(caught.value.hint)


_JOBS: dict[str, dict[str, Any]] = {
    "merged and compressed": {"compression": "int8"},
    "fedex": {"aggregator": "fedex_lora"},
    "full, tied, momentum": {
        "model": "gpt2",
        "tunable": FullSpec(),
        "optimizer": SgdSpec(learning_rate=0.05, momentum=0.9),
    },
    "dropout": {"tunable": LoraSpec(r=2, alpha=4, dropout=0.3)},
    "clipped and noisy": {
        "privacy": PrivacySpec(update_clip_norm=1.0, activation_noise=0.1, reproducible_noise=True)
    },
    "adamw": {"optimizer": AdamWSpec(learning_rate=0.01), "clip_norm": 0.5},
}


@pytest.mark.parametrize("name", _JOBS)
def test_every_kind_of_job_runs_on_a_gpu(tmp_path: Path, name: str) -> None:
    intra = "merge" if "merged" in name else "sequential"
    clusters = [training_cluster("c0", {"a": 8, "b": 8}, [1, 3], u_shape=True, intra=intra)]
    plan = write_job(tmp_path, clusters, rounds=2, **_JOBS[name])
    here = execute(plan, run_dir=tmp_path / "cpu")
    first, again = (execute(plan, run_dir=tmp_path / n, compute="cuda") for n in ("one", "two"))
    assert first.manifest.tunable_sha256 == again.manifest.tunable_sha256
    if name == "dropout":  # a GPU's generator draws other numbers than a CPU's
        assert distance(here, first) > CLOSE
    else:
        # A code that falls on the other side of a half is off by a whole step of the scale.
        assert distance(here, first) < (CLOSE if "compressed" not in name else 0.05)


@pytest.mark.parametrize("name", ["vit", "gpt2", "bert", "llama"])
def test_a_split_is_the_whole_on_a_gpu(name: str) -> None:
    check = check_split(tiny_model(name, LoraSpec(r=2)).to(torch.device("cuda")))
    assert max(cut.largest_difference for cut in check.cuts) < CLOSE
    assert all(cut.logits_equal and cut.gradients_equal for cut in check.cuts)
    assert all(cut.generation_equal is not False for cut in check.cuts)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_prompts_are_continued_on_a_gpu_as_on_a_cpu(family: str) -> None:
    model, plan, requests = build(family), cluster(1, 5, [3]), prompts(3, 6)
    expected = own_generate(model, requests, 8)
    devices = {stage.device for stage in plan.body} | {"phone"}
    engine = LocalEngine()
    serving = Serving(engine, model, "run", compute=dict.fromkeys(devices, "cuda"))
    engine.lend(serving.source("phone"), model.to(torch.device("cuda")))
    chain = ServiceChain.of(plan, "phone", model.n_units)
    desk = ServiceDesk(serving, chain, Body(serving, "c0", chain.body), requests, new_tokens=8)
    assert desk.answer().answers == expected
