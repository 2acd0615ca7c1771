"""A GPU: what the profiler says of it, what is measured beside that, and what a run on it takes.

The same models with random weights go through a profile on the GPU, through plain steps by the
host's clock (written without the profiler), through the allocator's record of candidate stages, and
ViT-Base through rounds of HFSL whose devices all compute on the GPU, in one process and in one
each, and then all on the CPU. What was timed is also held against what would be said of this GPU
elsewhere (``gaisnet profile --as``), by its figures and the model's counts alone.

    python -m benchmarks.accelerator [--parts device,steps,carried,stages,rounds] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers

from benchmarks.configurations import specs_of
from gaisnet.executor.run import RunResult, execute
from gaisnet.extrapolation import extrapolate
from gaisnet.models import attach, load_model
from gaisnet.models.accelerator import usual_place
from gaisnet.profiler import measured_stage_peak, profile_device, profile_model, stage_memory
from gaisnet.profiler.affordable import training_bytes
from gaisnet.schema.files import canonical_json
from gaisnet.schema.model import FullSpec, LoraSpec, ModelSpec
from gaisnet.schema.profile import DevicePart, ModelPart, Profile
from gaisnet.testing import write_small_job

_MODELS: dict[str, tuple[str, Any]] = {
    "ViT-Base": ("ViTForImageClassification", transformers.ViTConfig(num_labels=10)),
    "GPT-2": ("GPT2LMHeadModel", transformers.GPT2Config()),
    "MiniLM": (
        "BertForSequenceClassification",
        transformers.BertConfig(hidden_size=384, num_hidden_layers=6, intermediate_size=1536),
    ),
}
_BATCHES = {"ViT-Base": (1, 4, 32, 128), "GPT-2": (1, 8, 32), "MiniLM": (1, 8, 128)}
_TOKENS = {"ViT-Base": None, "GPT-2": 128, "MiniLM": 128}
_STAGES = (
    ("ViT-Base", LoraSpec(), 0, 13, 8),
    ("ViT-Base", LoraSpec(), 7, 13, 32),
    ("ViT-Base", FullSpec(), 0, 13, 8),
    ("ViT-Base", FullSpec(), 1, 4, 8),
    ("GPT-2", LoraSpec(), 0, 13, 4),
    ("GPT-2", FullSpec(), 1, 6, 4),
    ("MiniLM", LoraSpec(), 0, 7, 8),
    ("MiniLM", FullSpec(), 2, 5, 8),
)
_PLAIN_STEPS, _WARM_UP = 25, 8
_VIT_BASE = {"model_type": "vit", "num_labels": 3}
_RUNS = (("cuda", "local"), ("cuda", "ray"), ("cpu", "local"))


def device_figures(specs: dict[str, ModelSpec]) -> None:
    """What ``gaisnet profile --device-only`` writes."""
    part = _figures()
    print(f"{part.name}, {part.memory_bytes / 1e9:.1f} GB, {part.runtime_bytes / 1e6:.0f} MB taken")
    for dtype, peak in part.peak_flops_per_s.items():
        sustained = part.sustained_flops_per_s[dtype]
        print(f"{dtype}: peak {peak / 1e12:.1f}, sustained {sustained / 1e12:.1f} TFLOP/s")
    print(
        f"copies {part.memory_bandwidth_bytes_per_s / 1e12:.2f} TB/s; {part.attention_efficiency}"
    )
    power = part.power
    print(f"a call {part.op_overhead_s * 1e6:.1f} us; {power.idle_w:.0f} to {power.busy_w:.0f} W")
    print({kind: f"{speed / 1e12:.2f} TB/s" for kind, speed in part.traffic_bytes_per_s.items()})


def whole_steps(specs: dict[str, ModelSpec]) -> None:
    """A profile's steps by events beside plain ones by the clock, and its peaks beside sums."""
    print("model, batch | profile ms, sum ms, kappa | plain ms | peak MB, error")
    for name, spec in specs.items():
        part, tokens = _profiled(name, spec), _TOKENS[name]
        for check in part.end_to_end:
            size, peak = check.batch_size, check.measured_peak
            assert peak is not None
            times = check.step.expected_s, check.sum_s, _plain_s(spec, size, tokens)
            step_ms, sum_ms, plain_ms = (1e3 * seconds for seconds in times)
            error = training_bytes(part, size) / peak.bytes - 1
            print(
                f"{name}, {size} | {step_ms:.1f} {sum_ms:.1f} {check.kappa:.3f} | {plain_ms:.1f} | "
                f"{peak.bytes / 1e6:.1f} {error:+.2%}"
            )


def carried_over(specs: dict[str, ModelSpec]) -> None:
    """Sums of units as timed, and by the model of time with this GPU's figures."""
    for name, spec in specs.items():
        part = _profiled(name, spec)
        sizes = [check.batch_size for check in part.end_to_end]
        made = extrapolate(part, _figures(), batch_sizes=sizes)
        for timed, told in zip(part.end_to_end, made.end_to_end, strict=True):
            error = told.sum_s / timed.sum_s - 1
            times = f"{1e3 * timed.sum_s:.1f} ms, --as {1e3 * told.sum_s:.1f} ms"
            print(f"{name}, {timed.batch_size}: {times}, {error:+.1%}")


@cache
def _figures() -> DevicePart:
    return profile_device(device="cuda")


@cache
def _profiled(name: str, spec: ModelSpec) -> ModelPart:
    chosen = {"batch_sizes": _BATCHES[name], "tokens": _TOKENS[name]}
    return profile_model(spec, LoraSpec(), device="cuda", **chosen)  # type: ignore[arg-type]


def _plain_s(spec: ModelSpec, size: int, tokens: int | None) -> float:
    model = attach(load_model(spec), LoraSpec(), seed=0).to(torch.device("cuda"))
    batch = model.example_inputs(size, tokens)
    labels = batch.pop("labels")
    cache = {"use_cache": False} if model.task == "causal_lm" else {}
    tuned = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(tuned, lr=0.0)

    def step() -> None:
        optimizer.zero_grad()
        model.loss(model.module(**batch, **cache).logits, labels).backward()
        optimizer.step()

    return statistics.median([_clocked_s(step) for _ in range(_PLAIN_STEPS)][_WARM_UP:])


def _clocked_s(work: Callable[[], None]) -> float:
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def stage_peaks(specs: dict[str, ModelSpec]) -> None:
    """Candidate stages: predicted, and what CUDA's allocator handed out."""
    for name, tunable, first, last, size in _STAGES:
        chosen = (specs[name], tunable, first, last, size)
        predicted = stage_memory(*chosen, tokens=_TOKENS[name]).peak_bytes
        used = measured_stage_peak(*chosen, tokens=_TOKENS[name], device="cuda").bytes
        units = f"{tunable.kind}, units {first} to {last}, batch {size}"
        print(f"{name}, {units}: {used / 1e6:.1f} MB, predicted {predicted / used - 1:+.2%}")
        torch.cuda.empty_cache()


def rounds(specs: dict[str, ModelSpec]) -> None:
    """ViT-Base over five devices: three owners' heads, two bodies of 13 units."""
    with TemporaryDirectory() as folder:
        plan = write_small_job(Path(folder), topology="vanilla", rounds=3, model=_VIT_BASE)
        found = {
            run: execute(plan, run_dir=Path(folder) / "-".join(run), compute=run[0], engine=run[1])
            for run in _RUNS
        }
        spec = ModelSpec(source=str(Path(folder) / "model.json"))
        part = profile_model(spec, LoraSpec(r=2, alpha=4), batch_sizes=(4,), device="cuda")
    for (on, engine), done in found.items():
        losses = ", ".join(f"{metrics.train_loss:.6f}" for metrics in done.metrics)
        walls = ", ".join(f"{metrics.wall_s:.3f}" for metrics in done.metrics)
        turn_ms = 1e3 * _turn_s(done)
        sent = sum(link.frame_bytes for metrics in done.metrics for link in metrics.traffic)
        print(
            f"{on}, {engine}: rounds {walls} s, losses {losses}, the body's turn {turn_ms:.1f} ms"
        )
        print(f"  modules {str(done.manifest.tunable_sha256)[:16]}, {sent} bytes sent")
    timings = [unit.timings[0] for unit in part.units[2:]]
    predicted_s = sum(t.forward.expected_s + t.backward.expected_s for t in timings)
    print(f"cuda: the body's turn by the profile {predicted_s * 1e3:.1f} ms")


def _turn_s(done: RunResult) -> float:
    """Of the last stage: forward and backward of a batch of four, by its device's clock."""
    turns = [w for w in done.metrics[-1].work if w.direction == "turn"]
    return sum(work.wall_s or 0.0 for work in turns) / sum(work.times for work in turns)


_PARTS: dict[str, Callable[[dict[str, ModelSpec]], None]] = {
    "device": device_figures,
    "steps": whole_steps,
    "carried": carried_over,
    "stages": stage_peaks,
    "rounds": rounds,
}


def main() -> None:
    """Every part that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", default=",".join(_PARTS))
    parser.add_argument("--keep", type=Path, help="folder for the profiles that were made")
    given = parser.parse_args()
    asked = given.parts.split(",")
    usual_place("cuda")  # for the plain steps, too
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{torch.cuda.get_device_name()}, {versions}", flush=True)
    with TemporaryDirectory() as folder:
        specs = specs_of(Path(folder), _MODELS)
        for name in asked:
            print(f"-- {name}", flush=True)
            _PARTS[name](specs)
        if given.keep is not None:
            for name, spec in specs.items():
                made = Profile(device=_figures(), model=_profiled(name, spec))
                (given.keep / f"{name}.json").write_text(canonical_json(made))


if __name__ == "__main__":
    main()
