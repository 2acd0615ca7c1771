"""The profiler against closed forms, torch's allocator and real steps, beside other counters.

FLOPs: forward FLOPs as a ratio to the closed form, of gaisnet's counter, and of torch's flop
counter, fvcore, calflops and deepspeed's profiler as they are shipped (all run on CPU tensors, as
a user would run them; the last two where they are installed).
Memory: the predicted peak of a training step as a ratio to the most bytes that torch's CPU
allocator had handed out, beside the sum of tensors saved for the backward pass and torch's
MemTracker.
Time: CPU time of whole steps and of two- and four-stage splits, predicted from a profile's units
at batches 1 and 8 and measured afterwards, at 1, 4 and 8.

    python -m benchmarks.profiler [--quick] [--only flops,memory,times]
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

from gaisnet.heap import freed_memory_kept
from gaisnet.models import FoundationModel, attach, cut, load_model, needs_gradient, side_inputs
from gaisnet.profiler import profile_model, stage_memory
from gaisnet.profiler.allocator import allocated_beyond
from gaisnet.profiler.closed_form import closed_form_flops
from gaisnet.profiler.cuts import measure_cuts
from gaisnet.profiler.flop_counter import count_flops
from gaisnet.profiler.passage import Listener, forward_inputs, run_pass
from gaisnet.profiler.standins import model_on_meta
from gaisnet.profiler.timing import optimizer_of
from gaisnet.schema.model import FullSpec, LoraSpec, ModelSpec, TunableSpec
from gaisnet.schema.profile import ModelPart, UnitPart

__all__ = ["CONFIGS", "flops_rows", "memory_rows", "specs_of", "time_rows"]

_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_VIT_TINY = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
_MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
_LLAMA = {
    "hidden_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 1408,
    "vocab_size": 8000,
}
_TIMED = ("ViT-Tiny", "MiniLM", "GPT-2, 6 blocks", "Llama type")
CONFIGS: dict[str, tuple[str, Any]] = {
    "ViT-Tiny": ("ViTForImageClassification", transformers.ViTConfig(**_VIT_TINY)),
    "MiniLM": ("BertForSequenceClassification", transformers.BertConfig(**_MINILM)),
    "GPT-2, 6 blocks": (
        "GPT2LMHeadModel",
        transformers.GPT2Config(n_layer=6, vocab_size=8000, **_SPECIAL),
    ),
    "Llama type": ("LlamaForCausalLM", transformers.LlamaConfig(**_LLAMA, **_SPECIAL)),
}
_COUNTED_ONLY: dict[str, tuple[str, Any]] = {
    "Whisper encoder": ("WhisperForAudioClassification", transformers.WhisperConfig()),
    "Qwen3 type": (
        "Qwen3ForCausalLM",
        transformers.Qwen3Config(**_LLAMA, **_SPECIAL, head_dim=128),
    ),
    "ViT-Base": ("ViTForImageClassification", transformers.ViTConfig()),
    "CLIP vision": ("CLIPVisionModel", transformers.CLIPVisionConfig()),
    "Mixtral type": (
        "MixtralForCausalLM",
        transformers.MixtralConfig(
            **_LLAMA, **_SPECIAL, num_local_experts=4, num_experts_per_tok=2
        ),
    ),
}
_TUNABLES: dict[str, TunableSpec] = {"full": FullSpec(), "LoRA": LoraSpec()}
_TOKENS = 128
_WARM_UP = 2


def specs_of(folder: Path, configs: dict[str, tuple[str, Any]]) -> dict[str, ModelSpec]:
    """The configurations, written as files."""
    found = {}
    for name, (architecture, config) in configs.items():
        config.architectures = [architecture]
        path = folder / f"{name}.json"
        config.to_json_file(path, use_diff=False)
        found[name] = ModelSpec(source=str(path))
    return found


def flops_rows(specs: dict[str, ModelSpec]) -> Iterator[tuple[str, list[float | str]]]:
    """Model; forward FLOPs over the closed form: ours, the flop counter's, fvcore's, and those of
    peers that may not be there."""
    for name, spec in specs.items():
        meta = model_on_meta(spec, FullSpec(), 0)
        tokens = measure_cuts(meta, _TOKENS, 0).tokens
        expected = sum(flops or 0 for flops in closed_form_flops(meta, tokens))
        ours = sum(unit.forward_flops for unit in count_flops(meta, _TOKENS, 0))
        model = load_model(spec)
        inputs = forward_inputs(model, model.example_inputs(1, _TOKENS))
        with FlopCounterMode(display=False) as shipped, torch.no_grad():
            model.bare(**inputs)
        counted: list[float | str] = [ours, shipped.get_total_flops(), 2 * _fvcore(model, inputs)]
        counted += [_apart(count, model, inputs) for count in (_calflops, _deepspeed)]
        yield name, [c if isinstance(c, str) else c / expected for c in counted]


def _apart(
    count: Callable[[FoundationModel, dict[str, Any]], float],
    model: FoundationModel,
    inputs: dict[str, Any],
) -> float | str:
    """In a process of its own: both peers leave torch's functions patched, and count twice then."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(_peer(count, model, inputs)))
    process.start()
    found: float | str = receiver.recv()
    process.join()
    return found


def _peer(
    count: Callable[[FoundationModel, dict[str, Any]], float],
    model: FoundationModel,
    inputs: dict[str, Any],
) -> float | str:
    """What a profiler that may not be installed counts, or why it does not."""
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return count(model, inputs)
    except ImportError:
        return "not installed"
    except (RuntimeError, TypeError, ValueError, AttributeError, AssertionError, KeyError) as error:
        return f"fails ({type(error).__name__})"


def _calflops(model: FoundationModel, inputs: dict[str, Any]) -> float:
    from calflops import calculate_flops

    quiet = {"print_results": False, "print_detailed": False, "output_as_string": False}
    return float(calculate_flops(model.bare, kwargs=inputs, **quiet)[0])


def _deepspeed(model: FoundationModel, inputs: dict[str, Any]) -> float:
    from deepspeed.profiling.flops_profiler import get_model_profile

    quiet = {"print_profile": False, "detailed": False, "as_string": False, "warm_up": 0}
    return float(get_model_profile(model.bare, kwargs=inputs, **quiet)[0])


class _Call(nn.Module):
    def __init__(self, model: FoundationModel, inputs: dict[str, Any]) -> None:
        super().__init__()
        self.inner, self.key = model.bare, model.anatomy.output_key
        self.names = [name for name, value in inputs.items() if isinstance(value, Tensor)]
        self.fixed = {name: value for name, value in inputs.items() if name not in self.names}

    def forward(self, *tensors: Tensor) -> Any:
        named = dict(zip(self.names, tensors, strict=True))
        return self.inner(**named, **self.fixed)[self.key]


def _fvcore(model: FoundationModel, inputs: dict[str, Any]) -> float:
    call = _Call(model, inputs)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        analysis = FlopCountAnalysis(call, tuple(inputs[name] for name in call.names))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        return float(analysis.total())


def memory_rows(
    specs: dict[str, ModelSpec], batch_size: int
) -> Iterator[tuple[str, str, float, float, float | None]]:
    """Model, tuning; predicted peak over the allocator's: ours, saved tensors', MemTracker's."""
    for (name, spec), (kind, tunable) in itertools.product(specs.items(), _TUNABLES.items()):
        last = model_on_meta(spec, tunable, 0).n_units - 1
        predicted = stage_memory(spec, tunable, 0, last, batch_size, tokens=_TOKENS)
        model = attach(load_model(spec), tunable, seed=0)
        batch = model.example_inputs(batch_size, _TOKENS)
        fixed = predicted.weight_bytes + predicted.optimizer_bytes + predicted.input_bytes
        used = _allocated(model, batch) + fixed
        yield (
            name,
            kind,
            predicted.peak_bytes / used,
            (fixed + predicted.gradient_bytes + _saved(model, batch)) / used,
            _mem_tracker(model, batch, predicted.optimizer_bytes + predicted.input_bytes, used),
        )


def _allocated(model: FoundationModel, batch: dict[str, Tensor]) -> int:
    """Most bytes that the CPU allocator handed out in a step beyond what was there before."""
    optimizer = optimizer_of([p for p in model.bare.parameters() if p.requires_grad], "adamw")

    def step() -> None:
        run_pass(model, batch, Listener())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    return allocated_beyond(step, model.device)


def _saved(model: FoundationModel, batch: dict[str, Tensor]) -> int:
    """Bytes of all tensors that autograd saved, parameters left out, shared storages once."""
    own = {p.untyped_storage().data_ptr() for p in model.bare.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        inputs = forward_inputs(model, batch)
        logits = model.bare(**inputs)[model.anatomy.output_key]
        model.loss(logits, batch["labels"])
    return sum(storages.values())


def _mem_tracker(
    model: FoundationModel, batch: dict[str, Tensor], beside: int, used: int
) -> float | None:
    """MemTracker's peak, with what it is not shown added; ``None`` if it crashes."""
    tracker = MemTracker()
    try:
        tracker.track_external(model.bare)
        with warnings.catch_warnings(), tracker:
            warnings.simplefilter("ignore")
            run_pass(model, batch, Listener())
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError, AssertionError):
        return None
    finally:
        model.bare.zero_grad(set_to_none=True)
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    return (float(peak) + beside) / used


def time_rows(
    specs: dict[str, ModelSpec], repetitions: int
) -> Iterator[tuple[str, str, int, int, float]]:
    """Model, tuning, batch, stages; relative error of the predicted CPU time of a step.

    The model is profiled before and after its steps, which take turns, and the mean of both
    predictions counts: a machine that becomes faster or slower by and by touches all alike.
    """
    for (name, spec), (kind, tunable) in itertools.product(specs.items(), _TUNABLES.items()):
        kinds = list(itertools.product((1, 4, 8), (1, 2, 4)))
        before = profile_model(spec, tunable, batch_sizes=(1, 8), tokens=_TOKENS)
        measured = _steps_cpu_s(attach(load_model(spec), tunable, seed=0), kinds, repetitions)
        after = profile_model(spec, tunable, batch_sizes=(1, 8), tokens=_TOKENS)
        for key, taken_s in zip(kinds, measured, strict=True):
            predicted_s = (_predicted(before, *key) + _predicted(after, *key)) / 2
            yield (name, kind, *key, predicted_s / taken_s - 1)


def _predicted(part: ModelPart, batch_size: int, stages: int) -> float:
    units = sum(_unit_cpu_s(unit, batch_size) for unit in part.units)
    kappa = statistics.median(check.kappa for check in part.end_to_end)
    return kappa * units + (stages - 1) * part.stage_overhead_s


def _unit_cpu_s(unit: UnitPart, batch_size: int) -> float:
    """The line through two batch sizes, and the optimizer's step."""
    small, large = unit.timings[0], unit.timings[-1]
    share = (batch_size - small.batch_size) / (large.batch_size - small.batch_size)
    low, high = (t.forward_cpu.median_s + t.backward_cpu.median_s for t in (small, large))
    assert unit.update_cpu is not None
    return low + share * (high - low) + unit.update_cpu.median_s


def _steps_cpu_s(
    model: FoundationModel, kinds: Sequence[tuple[int, int]], repetitions: int
) -> list[float]:
    """Medians of CPU time of training steps, by batch size and number of stages.

    Stages are chained as the executor does it.
    """
    tuned = [p for p in model.bare.parameters() if p.requires_grad]
    optimizer = optimizer_of(tuned, "adamw")
    steps = [_step(model, optimizer, batch_size, stages) for batch_size, stages in kinds]
    samples: list[list[float]] = [[] for _ in kinds]
    with freed_memory_kept():  # as in a run
        for _ in range(_WARM_UP + repetitions):
            for step, mine in zip(steps, samples, strict=True):
                model.bare.zero_grad(set_to_none=True)
                started = time.process_time()
                step()
                mine.append(time.process_time() - started)
    return [statistics.median(mine[_WARM_UP:]) for mine in samples]


def _step(
    model: FoundationModel, optimizer: torch.optim.Optimizer, batch_size: int, stages: int
) -> Callable[[], None]:
    edges = [round(i * model.n_units / stages) for i in range(stages + 1)]
    segments = [(a, b - 1) for a, b in itertools.pairwise(edges)]
    batch = model.example_inputs(batch_size, _TOKENS)
    if stages == 1:
        return _whole_step(model, optimizer, batch)
    return _split_step(model, optimizer, segments, batch)


def _whole_step(
    model: FoundationModel, optimizer: torch.optim.Optimizer, batch: dict[str, Tensor]
) -> Callable[[], None]:
    def step() -> None:
        run_pass(model, batch, Listener())
        optimizer.step()

    return step


def _split_step(
    model: FoundationModel,
    optimizer: torch.optim.Optimizer,
    segments: Sequence[tuple[int, int]],
    batch: dict[str, Tensor],
) -> Callable[[], None]:
    stages = cut(model, segments, private_tunables=False)
    side = side_inputs(model, batch)

    def step() -> None:
        outputs = [stages[0](batch)]
        received = []
        for before, stage in itertools.pairwise(stages):
            wanted = needs_gradient(model, before.last_unit)
            received.append(outputs[-1].detach().requires_grad_(wanted))
            outputs.append(stage(side, received[-1]))
        outputs[-1] = model.loss(outputs[-1], batch["labels"])
        gradient = None
        for output, hidden in zip(reversed(outputs), [*reversed(received), None], strict=True):
            if not output.requires_grad:
                break
            torch.autograd.backward(output, gradient)
            gradient = None if hidden is None else hidden.grad
        optimizer.step()

    return step


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two models, few repetitions")
    parser.add_argument("--only", default="flops,memory,times", help="which tables, by commas")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with TemporaryDirectory() as place:
        configs = dict(itertools.islice(CONFIGS.items(), 2 if chosen.quick else None))
        specs = specs_of(Path(place), configs)
        if "flops" in chosen.only:
            _print_flops(specs | ({} if chosen.quick else specs_of(Path(place), _COUNTED_ONLY)))
        if "memory" in chosen.only:
            _print_memory(specs)
        if "times" in chosen.only:
            timed = {name: spec for name, spec in specs.items() if name in _TIMED}
            _print_times(time_rows(timed, 3 if chosen.quick else 7))


def _print_flops(specs: dict[str, ModelSpec]) -> None:
    print("| FLOPs / closed form | gaisnet | flop counter | fvcore x 2 | calflops | deepspeed |")
    print("|---|---|---|---|---|---|")
    for name, ratios in flops_rows(specs):
        told = (ratio if isinstance(ratio, str) else f"{ratio:.3f}" for ratio in ratios)
        print(f"| {name} | " + " | ".join(told) + " |")


def _print_memory(specs: dict[str, ModelSpec]) -> None:
    print("\n| peak / allocator | tuning | gaisnet | saved tensors | MemTracker |")
    print("|---|---|---|---|---|")
    for name, kind, *peaks in memory_rows(specs, batch_size=8):
        told = ("crashes" if peak is None else f"{peak:.3f}" for peak in peaks)
        print(f"| {name} | {kind} | " + " | ".join(told) + " |")


def _print_times(found: Iterator[tuple[str, str, int, int, float]]) -> None:
    print("\n| CPU time of a step, error | tuning | batch | whole | 2 stages | 4 stages |")
    print("|---|---|---|---|---|---|")
    rows = []
    for key, group in itertools.groupby(found, key=lambda row: row[:3]):
        mine = list(group)
        rows += mine
        errors = " | ".join(f"{row[4]:+.1%}" for row in mine)
        print(f"| {key[0]} | {key[1]} | {key[2]} | {errors} |", flush=True)
    for stages in (1, 2, 4):
        mean = statistics.mean(abs(row[4]) for row in rows if row[3] == stages)
        print(f"\nMean absolute error with {stages} stage(s): {mean:.1%}")


if __name__ == "__main__":
    main()
