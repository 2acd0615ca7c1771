"""The profiler against closed forms, torch's allocator and real steps, beside other counters.

FLOPs: forward FLOPs as a ratio to the closed form, of gaisnet's counter, and of torch's flop
counter, fvcore, calflops and deepspeed's profiler as they are shipped (all run on CPU tensors, as
a user would run them; the last two where they are installed).
Memory: the predicted peak of a training step as a ratio to the most bytes that torch's CPU
allocator had handed out, beside the sum of tensors saved for the backward pass and torch's
MemTracker.
Times have a benchmark of their own, `benchmarks/step_times.py`.

    python -m benchmarks.profiler [--quick] [--only flops,memory]
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.configurations import COUNTED_ONLY, MODELS, specs_of
from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.profiler import stage_memory
from gaisnet.profiler.allocator import allocated_beyond
from gaisnet.profiler.closed_form import closed_form_flops
from gaisnet.profiler.cuts import measure_cuts
from gaisnet.profiler.flop_counter import count_flops
from gaisnet.profiler.passage import Listener, forward_inputs, run_pass
from gaisnet.profiler.standins import model_on_meta
from gaisnet.profiler.timing import optimizer_of
from gaisnet.schema.model import FullSpec, LoraSpec, ModelSpec, TunableSpec

__all__ = ["flops_rows", "memory_rows"]

_TUNABLES: dict[str, TunableSpec] = {"full": FullSpec(), "LoRA": LoraSpec()}
_TOKENS = 128


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


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two models")
    parser.add_argument("--only", default="flops,memory", help="which tables, by commas")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with TemporaryDirectory() as place:
        configs = dict(itertools.islice(MODELS.items(), 2 if chosen.quick else None))
        specs = specs_of(Path(place), configs)
        if "flops" in chosen.only:
            _print_flops(specs | ({} if chosen.quick else specs_of(Path(place), COUNTED_ONLY)))
        if "memory" in chosen.only:
            _print_memory(specs)


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


if __name__ == "__main__":
    main()
