"""Memory of candidate stages: predicted without allocating, against what the allocator handed out.

Held-out configurations (nothing was fitted to them): every model under five tunings, with and
without activation checkpointing; stages and optimizers take turns. The prediction runs on fake
tensors, the check is a real training step and the record of the device's own allocator: the
GPU's where there is one, else the CPU's.

    python -m benchmarks.stages [--batch 3] [--tokens 48] [--models MiniLM,ViT]
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

from benchmarks.configurations import MODELS, specs_of
from gaisnet.models import load_model
from gaisnet.profiler import measured_stage_peak, stage_memory
from gaisnet.profiler.analysis import Optimizer
from gaisnet.schema.model import (
    AdapterSpec,
    DeepPromptSpec,
    FullSpec,
    HeadSpec,
    LoraSpec,
    ModelSpec,
    TunableSpec,
)

__all__ = ["StageRow", "print_stages", "stage_rows"]

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
                used = measured_stage_peak(*chosen, tokens=tokens, checkpointing=checkpointing)
                told = (name, kind, checkpointing, first, last, optimizer)
                yield StageRow(*told, predicted.peak_bytes, used.bytes)


_OPTIMIZERS: tuple[Optimizer, ...] = ("adamw", "sgd", "adamw")


def _units(spec: ModelSpec, place: str) -> tuple[int, int]:
    last = load_model(spec, device="meta").n_units - 1
    third = last // 3
    places = {"first": (0, third), "middle": (third, 2 * third), "last": (2 * third, last)}
    return places.get(place, (0, last))


def print_stages(specs: dict[str, ModelSpec], batch_size: int, tokens: int) -> None:
    """A row a configuration, and the mean and the largest error."""
    print("\n| peak of a stage | tuning | checkpointing | units | optimizer | used | error |")
    print("|---|---|---|---|---|---|---|")
    errors = []
    for row in stage_rows(specs, batch_size, tokens):
        kept = "yes" if row.checkpointing else "no"
        told = f"{row.used_bytes / 2**20:.1f} MiB | {row.error:+.2%}"
        units = f"{row.first}–{row.last}"
        print(
            f"| {row.model} | {row.tuning} | {kept} | {units} | {row.optimizer} | {told} |",
            flush=True,
        )
        errors.append(abs(row.error))
    mean = statistics.mean(errors)
    print(f"\n{len(errors)} stages: mean absolute error {mean:.2%}, largest {max(errors):.2%}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--models", default="", help="how their names begin, by commas")
    chosen = parser.parse_args()
    beginnings = tuple(chosen.models.split(","))
    models = {name: model for name, model in MODELS.items() if name.startswith(beginnings)}
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    with TemporaryDirectory() as folder:
        print_stages(specs_of(Path(folder), models), chosen.batch, chosen.tokens)


if __name__ == "__main__":
    main()
