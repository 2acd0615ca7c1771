"""Memory of candidate stages: predicted without allocating, against what the allocator handed out.

Held-out configurations (nothing was fitted to them): every model under five tunings, with and
without activation checkpointing; stages and optimizers take turns. The prediction runs on fake
tensors, the check is a real training step under torch's own record of its CPU allocator.

    python -m benchmarks.stages [--batch 3] [--tokens 48]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
import transformers

from benchmarks.profiler import CONFIGS, specs_of
from gaisnet.models import attach, load_model
from gaisnet.profiler import stage_memory
from gaisnet.profiler.analysis import Optimizer
from gaisnet.profiler.cuts import hidden_before
from gaisnet.profiler.stage_memory import StageStep
from gaisnet.profiler.storages import StorageTracker
from gaisnet.schema.model import (
    AdapterSpec,
    DeepPromptSpec,
    FullSpec,
    HeadSpec,
    LoraSpec,
    ModelSpec,
    TunableSpec,
)

__all__ = ["StageRow", "allocated_bytes", "print_stages", "stage_rows"]

_TUNABLES: dict[str, TunableSpec] = {
    "full": FullSpec(),
    "LoRA": LoraSpec(),
    "adapter": AdapterSpec(),
    "prompts": DeepPromptSpec(),
    "head": HeadSpec(),
}
_WITHOUT_A_HEAD = ("GPT-2, 6 blocks",)
"""Its head is its table of embeddings, which cannot be tuned alone."""


class StageRow(NamedTuple):
    """One stage of one configuration."""

    model: str
    tuning: str
    checkpointing: bool
    first: int
    last: int
    optimizer: str
    predicted_bytes: int
    used_bytes: int

    @property
    def error(self) -> float:
        """Of the prediction, relative to what was used."""
        return self.predicted_bytes / self.used_bytes - 1


def stage_rows(specs: dict[str, ModelSpec], batch_size: int, tokens: int) -> Iterator[StageRow]:
    """Predicted and used peak of every held-out configuration."""
    turns = itertools.cycle(itertools.product(("first", "middle", "last", "whole"), _OPTIMIZERS))
    for name, spec in specs.items():
        for kind, tunable in _TUNABLES.items():
            if kind == "head" and name in _WITHOUT_A_HEAD:
                continue
            for checkpointing in (False, True):
                place, optimizer = next(turns)
                first, last = _units(spec, place)
                chosen = (spec, tunable, first, last, batch_size, optimizer)
                predicted = stage_memory(*chosen, tokens=tokens, checkpointing=checkpointing)
                used = allocated_bytes(*chosen, tokens=tokens, checkpointing=checkpointing)
                told = (name, kind, checkpointing, first, last, optimizer)
                yield StageRow(*told, predicted.peak_bytes, used)


_OPTIMIZERS: tuple[Optimizer, ...] = ("adamw", "sgd", "adamw")


def _units(spec: ModelSpec, place: str) -> tuple[int, int]:
    last = load_model(spec, device="meta").n_units - 1
    third = last // 3
    places = {"first": (0, third), "middle": (third, 2 * third), "last": (2 * third, last)}
    return places.get(place, (0, last))


def allocated_bytes(
    spec: ModelSpec,
    tunable: TunableSpec,
    first: int,
    last: int,
    batch_size: int,
    optimizer: Optimizer,
    *,
    tokens: int,
    checkpointing: bool,
) -> int:
    """Most bytes of a real stage in a real step: what it holds, and what the allocator hands out
    beyond it."""
    model = attach(load_model(spec), tunable, seed=0)
    batch = model.example_inputs(batch_size, tokens)
    hidden = hidden_before(model, first, batch)
    step = StageStep(
        model, first, last, batch, None if hidden is None else hidden.clone(), optimizer
    )
    if checkpointing:
        step.checkpoint_blocks()

    def run() -> None:
        step.backward(step.forward())
        step.update()

    run()
    held = StorageTracker()
    held.add([*step.resident(), *step.state(), *step.received()])
    with torch.profiler.profile(profile_memory=True) as record:
        run()
    live = peak = 0
    for event in record.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return held.live_bytes + peak


def print_stages(specs: dict[str, ModelSpec], batch_size: int, tokens: int) -> None:
    """A row a configuration, and the mean and the largest error."""
    print("\n| peak of a stage | tuning | checkpointing | units | optimizer | used | error |")
    print("|---|---|---|---|---|---|---|")
    errors = []
    for row in stage_rows(specs, batch_size, tokens):
        kept = "yes" if row.checkpointing else "no"
        told = f"{row.used_bytes / 2**20:.1f} MiB | {row.error:+.2%}"
        units = f"{row.first}–{row.last}"
        print(f"| {row.model} | {row.tuning} | {kept} | {units} | {row.optimizer} | {told} |")
        errors.append(abs(row.error))
    mean = statistics.mean(errors)
    print(f"\n{len(errors)} stages: mean absolute error {mean:.2%}, largest {max(errors):.2%}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with TemporaryDirectory() as folder:
        print_stages(specs_of(Path(folder), CONFIGS), chosen.batch, chosen.tokens)


if __name__ == "__main__":
    main()
