"""CPU time of training steps, whole and split, predicted from a profile and measured beside it.

One process takes the times of a profile at batches 1 and 8, just as `gaisnet profile` does, and
another runs training steps at 1, 4 and 8: the whole model's, and those of its stages chained as the
executor does it. The two take turns, a few steps at a time, so that what else the machine does
touches both alike; all other differences between two processes stay in. What a profile makes of
its times is set against what the steps took.

    python -m benchmarks.step_times [--models MiniLM,ViT] [--seconds 60] [--tokens 32]
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor

from benchmarks.configurations import MODELS, specs_of
from gaisnet.extrapolation import step_s
from gaisnet.heap import keep_freed_memory
from gaisnet.models import FoundationModel, attach, cut, load_model, needs_gradient, side_inputs
from gaisnet.profiler import profile_model
from gaisnet.profiler.passage import Listener, run_pass
from gaisnet.profiler.statistics import spread_of
from gaisnet.profiler.timing import Record, Stepper, optimizer_of
from gaisnet.profiler.timing_summary import with_records
from gaisnet.schema.model import FullSpec, LoraSpec, ModelSpec, TunableSpec
from gaisnet.schema.profile import ModelPart

__all__ = ["StepRow", "step_rows"]

_TUNABLES: dict[str, TunableSpec] = {"full": FullSpec(), "LoRA": LoraSpec()}
_PROFILED = (1, 8)
_MEASURED = (1, 4, 8)
_STAGES = (1, 2, 4)
_WARM_UP = 2

_Samples = dict[tuple[int, int], list[float]]
"""CPU seconds of steps, by batch size and number of stages."""


class StepRow(NamedTuple):
    """One configuration: relative errors of the predicted CPU time of a step."""

    model: str
    tuning: str
    batch_size: int
    errors: dict[int, float]
    """By number of stages."""
    spread: float
    """What the measured whole steps say of their own spread, relative."""
    turns: int


def step_rows(
    spec: ModelSpec, name: str, tuning: str, tokens: int, seconds: float
) -> Iterator[StepRow]:
    """Predicted and measured steps of one model under one tuning."""
    part, samples = _taken_in_turns(spec, _TUNABLES[tuning], tokens, seconds)
    for size in _MEASURED:
        taken = {stages: spread_of(samples[size, stages]) for stages in _STAGES}
        errors = {
            stages: _predicted_s(part, size, stages) / taken[stages].expected_s - 1
            for stages in _STAGES
        }
        spread = taken[1].spread_s / taken[1].expected_s
        yield StepRow(name, tuning, size, errors, spread, taken[1].samples)


def _predicted_s(part: ModelPart, batch_size: int, stages: int) -> float:
    """A step as planners read it off a profile."""
    return step_s(part, batch_size) + (stages - 1) * part.stage_overhead_s


def _taken_in_turns(
    spec: ModelSpec, tunable: TunableSpec, tokens: int, seconds: float
) -> tuple[ModelPart, _Samples]:
    """The profile, and what steps of every kind took."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for serve in (_serve_profile, _serve_steps):
        mine, theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(theirs, spec, tunable, tokens)))
        processes[-1].start()
        pipes.append(mine)
    _alternate(*pipes, seconds)
    part, samples = (_obeyed(pipe, None) for pipe in pipes)
    for process in processes:
        process.join()
    return part, samples


def _alternate(profile: Connection, steps: Connection, seconds: float) -> None:
    """Orders are batch sizes; ``None`` is the last one."""
    for turn in itertools.count():
        if turn == _WARM_UP:
            started = time.perf_counter()
        if turn > _WARM_UP and time.perf_counter() - started > seconds:
            return
        for size in _MEASURED:
            if size in _PROFILED:
                _obeyed(profile, size)
            _obeyed(steps, size)


def _obeyed(pipe: Connection, order: int | None) -> Any:
    pipe.send(order)
    return pipe.recv()


def _serve_profile(pipe: Connection, spec: ModelSpec, tunable: TunableSpec, tokens: int) -> None:
    """The profile's own timing, a repetition at one batch size a turn."""
    _alone()
    part = profile_model(spec, tunable, tokens=tokens, times=False)
    model = attach(load_model(spec), tunable, seed=0)
    stepper = Stepper(model, part.optimizer)
    batches = {size: model.example_inputs(size, tokens, 0) for size in _PROFILED}
    records = {size: Record() for size in _PROFILED}
    turns = dict.fromkeys(_PROFILED, 0)
    while (size := pipe.recv()) is not None:
        stepper.turn(batches[size], Record() if turns[size] < _WARM_UP else records[size])
        turns[size] += 1
        pipe.send("done")
    pipe.send(with_records(part, records))


def _serve_steps(pipe: Connection, spec: ModelSpec, tunable: TunableSpec, tokens: int) -> None:
    """Training steps of one batch size a turn, split and whole, each time in another order."""
    _alone()
    model = attach(load_model(spec), tunable, seed=0)
    optimizer = optimizer_of([p for p in model.bare.parameters() if p.requires_grad], "adamw")
    kinds = tuple(itertools.product(_MEASURED, _STAGES))
    steps = {kind: _step(model, optimizer, tokens, *kind) for kind in kinds}
    samples: _Samples = {kind: [] for kind in kinds}
    while (size := pipe.recv()) is not None:
        first = len(samples[size, _STAGES[0]])
        for place in range(len(_STAGES)):
            kind = (size, _STAGES[(first + place) % len(_STAGES)])
            model.bare.zero_grad(set_to_none=True)
            started = time.process_time()
            steps[kind]()
            samples[kind].append(time.process_time() - started)
        pipe.send("done")
    pipe.send({kind: mine[_WARM_UP:] for kind, mine in samples.items()})


def _alone() -> None:
    """This process as the profiler and a run have it."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    keep_freed_memory()
    gc.disable()


def _step(
    model: FoundationModel,
    optimizer: torch.optim.Optimizer,
    tokens: int,
    batch_size: int,
    stages: int,
) -> Callable[[], None]:
    edges = [round(i * model.n_units / stages) for i in range(stages + 1)]
    segments = [(a, b - 1) for a, b in itertools.pairwise(edges)]
    batch = model.example_inputs(batch_size, tokens)
    if stages == 1:
        return _whole_step(model, optimizer, batch)
    return _split_step(model, optimizer, segments, batch)


def _whole_step(
    model: FoundationModel, optimizer: torch.optim.Optimizer, batch: Mapping[str, Tensor]
) -> Callable[[], None]:
    def step() -> None:
        run_pass(model, batch, Listener())
        optimizer.step()

    return step


def _split_step(
    model: FoundationModel,
    optimizer: torch.optim.Optimizer,
    segments: Sequence[tuple[int, int]],
    batch: Mapping[str, Tensor],
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
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="", help="how their names begin, by commas")
    parser.add_argument("--tunings", default=",".join(_TUNABLES), help="full, LoRA")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each model and tuning")
    parser.add_argument("--tokens", type=int, default=32)
    asked = parser.parse_args()
    beginnings = tuple(asked.models.split(","))
    chosen = {name: model for name, model in MODELS.items() if name.startswith(beginnings)}
    rows: list[StepRow] = []
    titles = ("CPU time of a step, error", "tuning", "batch", "whole", "2 stages", "4 stages")
    print("|", " | ".join((*titles, "spread", "turns")), "|")
    print("|---" * 8 + "|")
    with TemporaryDirectory() as folder:
        for name, spec in specs_of(Path(folder), chosen).items():
            for tuning in asked.tunings.split(","):
                for row in step_rows(spec, name, tuning, asked.tokens, asked.seconds):
                    rows.append(row)
                    _print(row)
    for stages in _STAGES:
        mean = statistics.mean(abs(row.errors[stages]) for row in rows)
        print(f"\nMean absolute error with {stages} stage(s): {mean:.1%}")


def _print(row: StepRow) -> None:
    errors = " | ".join(f"{error:+.1%}" for error in row.errors.values())
    told = (
        f"{row.model} | {row.tuning} | {row.batch_size} | {errors} | {row.spread:.1%} | {row.turns}"
    )
    print(f"| {told} |", flush=True)


if __name__ == "__main__":
    main()
