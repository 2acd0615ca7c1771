"""Times carried over to another device, against times measured there.

The other device is this machine without its wide vector instructions: a process that has
``ATEN_CPU_CAPABILITY=default`` and its like, two to five times slower, in unlike measure for
products, attention and functions. Here models are profiled; there only the device is
(``--device-only``), and one step is timed (``--calibration``). Then each model is really timed
there, and its times are set beside what ``--as`` makes of the profile from here, without and with
``--calibrate``.

The two processes take turns, a step of each kind at a time: what else the machine does, and how
warm it is, touches all four measurements alike instead of one of them. Medians of CPU time count.
How much the measured steps themselves vary stands in the column ``spread``.

    python -m benchmarks.extrapolation [--quick | --keep FOLDER | --again FOLDER]
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import transformers
from torch import Tensor

from gaisnet.extrapolation import extrapolate, step_s
from gaisnet.heap import keep_freed_memory
from gaisnet.models import attach, load_model
from gaisnet.profiler import profile_device, profile_model
from gaisnet.profiler.clock import Instant
from gaisnet.profiler.statistics import spread_of
from gaisnet.profiler.timing import Record, Stepper
from gaisnet.profiler.timing_summary import end_to_end, step_parts, with_times
from gaisnet.schema.calibration import CalibrationStep
from gaisnet.schema.files import canonical_json, read_model
from gaisnet.schema.model import FullSpec, LoraSpec, ModelSpec, TunableSpec
from gaisnet.schema.profile import EndToEnd, ModelPart, Profile

__all__ = ["rows"]

SLOWED = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "MKL_CBWR": "COMPATIBLE",
}
"""What keeps torch, oneDNN and MKL (the last one on AMD's processors) from wide vectors."""

_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 8000}
_BLOCKS = 2
_CONFIGS: dict[str, tuple[str, Any]] = {
    "ViT-Tiny": (
        "ViTForImageClassification",
        transformers.ViTConfig(
            hidden_size=192,
            num_attention_heads=3,
            intermediate_size=768,
            num_hidden_layers=_BLOCKS,
        ),
    ),
    "MiniLM": (
        "BertForSequenceClassification",
        transformers.BertConfig(
            hidden_size=384,
            intermediate_size=1536,
            num_hidden_layers=_BLOCKS,
            vocab_size=8000,
        ),
    ),
    "GPT-2": ("GPT2LMHeadModel", transformers.GPT2Config(n_layer=_BLOCKS, **_SPECIAL)),
    "Llama type": (
        "LlamaForCausalLM",
        transformers.LlamaConfig(
            hidden_size=512,
            num_hidden_layers=_BLOCKS,
            num_attention_heads=8,
            num_key_value_heads=2,
            intermediate_size=1408,
            **_SPECIAL,
        ),
    ),
}
_TUNABLES: dict[str, TunableSpec] = {"full": FullSpec(), "LoRA": LoraSpec()}
_TOKENS = 32
_SIZES = {"here": (1, 4), "there": (1, 2, 4)}
"""A batch of 2 is not timed here: it is read off the line between the others."""
_CALIBRATED_SIZE = 4
_OPTIMIZER: Literal["adamw"] = "adamw"
_REPETITIONS = 8


@dataclass(frozen=True, kw_only=True)
class Row:
    """Errors of one model's times there."""

    model: str
    tunable: str
    batch_size: int
    slower: float
    """Measured time of a step there over that here."""
    guessed: float
    """Relative error of a step carried over by FLOP/s alone."""
    plain: float
    """Relative error of the extrapolated step."""
    calibrated: float
    """The same after one step of the largest batch."""
    units: float
    """Mean relative error over the units' passes, weighted by time, after that step; of a batch
    that was timed here."""
    spread: float
    """Half the interquartile range of the measured steps there, over their median."""


def rows(folder: Path, names: list[str]) -> Iterator[Row]:
    """Set side by side what both processes wrote into ``folder``."""
    here, there = (
        read_model(folder / f"{side}-device.json", Profile) for side in ("here", "there")
    )
    assert here.device is not None
    assert there.device is not None
    speeds = [device.sustained_flops_per_s["float32"] for device in (here.device, there.device)]
    for name in names:
        for kind in _TUNABLES:
            if not (folder / f"there-{name}-{kind}-step.json").exists():
                continue  # the run was cut off before it
            mine, real = (_part(folder, side, name, kind) for side in ("here", "there"))
            step = read_model(folder / f"there-{name}-{kind}-step.json", CalibrationStep)
            plain = extrapolate(mine, there.device, here.device)
            calibrated = extrapolate(mine, there.device, here.device, step)
            for check in real.end_to_end:
                size, measured_s = check.batch_size, check.step_cpu.median_s
                yield Row(
                    model=name,
                    tunable=kind,
                    batch_size=size,
                    slower=measured_s / step_s(mine, size),
                    guessed=step_s(mine, size) * speeds[0] / speeds[1] / measured_s - 1,
                    plain=step_s(plain, size) / measured_s - 1,
                    calibrated=step_s(calibrated, size) / measured_s - 1,
                    units=_unit_error(calibrated, real, size),
                    spread=check.step_cpu.spread_s / measured_s,
                )


def _part(folder: Path, side: str, name: str, kind: str) -> ModelPart:
    part = read_model(folder / f"{side}-{name}-{kind}.json", Profile).model
    assert part is not None
    return part


def _unit_error(made: ModelPart, real: ModelPart, batch_size: int) -> float:
    """Sum of absolute differences of all units' forward and backward times, over the times."""
    pairs = [
        pair
        for one, other in zip(made.units, real.units, strict=True)
        for first in one.timings
        for second in other.timings
        if first.batch_size == second.batch_size == batch_size
        for pair in (
            (first.forward_cpu.median_s, second.forward_cpu.median_s),
            (first.backward_cpu.median_s, second.backward_cpu.median_s),
        )
    ]
    return sum(abs(a - b) for a, b in pairs) / sum(b for _, b in pairs) if pairs else math.nan


class _Bench:
    """One model in one of the two processes: a step of each kind at every turn."""

    def __init__(self, side: str, folder: Path, name: str, kind: str) -> None:
        self._side = side
        self._stem = folder / f"{side}-{name}-{kind}"
        self._counted = folder / f"here-{name}-{kind}.json"
        tunable = _TUNABLES[kind]
        spec = ModelSpec(source=str(folder / f"{name}.json"))
        if side == "here":
            part = profile_model(spec, tunable, tokens=_TOKENS, times=False)
            _write(self._counted, Profile(model=part))
        model = attach(load_model(spec, device="cpu"), tunable, seed=0)
        self._stepper = Stepper(model, _OPTIMIZER)
        self._batches: Mapping[int, Mapping[str, Tensor]] = {
            size: model.example_inputs(size, _TOKENS, 0) for size in _SIZES[side]
        }
        self._records = {size: Record() for size in self._batches}
        self._calibration: tuple[list[Instant], list[Record]] = ([], [])
        for batch in self._batches.values():
            self._stepper.plain(batch)

    def turn(self) -> None:
        """Steps of all batch sizes with and without a clock in them, and the same to calibrate by.

        Those and their like in the profile change places every turn: of two steps in a row the
        second is a little faster.
        """
        gc.collect()
        for size, batch in self._batches.items():
            record = self._records[size]
            works = [partial(self._profiled, batch, record)]
            if self._side == "there" and size == _CALIBRATED_SIZE:
                works.insert(len(record.steps) % 2, partial(self._calibrated, batch))
            for work in works:
                work()

    def _profiled(self, batch: Mapping[str, Tensor], record: Record) -> None:
        self._stepper.with_clock(batch, record)
        record.steps.append(self._stepper.plain(batch))

    def _calibrated(self, batch: Mapping[str, Tensor]) -> None:
        plain, clocked = self._calibration
        clocked.append(self._stepper.clocked(batch))
        plain.append(self._stepper.plain(batch))

    def close(self) -> None:
        """Write the profile's times, and there the calibration step."""
        part = read_model(self._counted, Profile).model
        assert part is not None
        units = with_times(part.units, self._records)
        checks: tuple[EndToEnd, ...] = end_to_end(units, self._records)
        timed = part.model_copy(update={"units": tuple(units), "end_to_end": checks})
        _write(self._stem.with_name(f"{self._stem.name}.json"), Profile(model=timed))
        if self._side == "there":
            step = _step(part, *self._calibration)
            _write(self._stem.with_name(f"{self._stem.name}-step.json"), step)


def _step(part: ModelPart, plain: list[Instant], clocked: list[Record]) -> CalibrationStep:
    return CalibrationStep(
        device="there",
        fingerprint=part.fingerprint,
        tunable=part.tunable,
        optimizer=_OPTIMIZER,
        tokens=part.tokens,
        batch_size=_CALIBRATED_SIZE,
        step=spread_of([run.wall_s for run in plain]),
        step_cpu=spread_of([run.cpu_s for run in plain]),
        parts_cpu=step_parts(clocked),
    )


def serve(side: str, folder: Path) -> None:
    """What one of the two processes does: one order a line, and a line when it is carried out."""
    torch.set_num_threads(1)
    keep_freed_memory()
    transformers.logging.set_verbosity_error()
    gc.disable()
    bench: _Bench | None = None
    for line in sys.stdin:
        match line.rstrip("\n").split("\t"):
            case ["device"]:
                _write(folder / f"{side}-device.json", Profile(device=profile_device(device="cpu")))
            case ["open", name, kind]:
                bench = _Bench(side, folder, name, kind)
            case ["turn"] if bench is not None:
                bench.turn()
            case ["close"] if bench is not None:
                bench.close()
        print("done", flush=True)


def _write(path: Path, document: Profile | CalibrationStep) -> None:
    path.write_text(canonical_json(document))


def _measure_both(folder: Path, names: list[str]) -> None:
    for name in names:
        architecture, config = _CONFIGS[name]
        config.architectures = [architecture]
        config.to_json_file(folder / f"{name}.json", use_diff=False)
    sides = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.extrapolation", "--side", side, str(folder)],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | slowed,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for side, slowed in (("here", {}), ("there", SLOWED))
    ]
    orders = ["device"]
    for name in names:
        for kind in _TUNABLES:
            orders += [f"open\t{name}\t{kind}", *["turn"] * _REPETITIONS, "close"]
    for order in orders:
        for process in sides:
            _obey(process, order)
    for process in sides:
        process.communicate()


def _obey(process: subprocess.Popen[str], order: str) -> None:
    """One side works while the other waits."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(order + "\n")
    process.stdin.flush()
    if process.stdout.readline() != "done\n":
        raise SystemExit(f"a measuring process failed at: {order}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one model")
    parser.add_argument("--models", default="", help="how their names begin, by commas")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help="folder to leave the profiles in")
    parser.add_argument("--again", type=Path, help="tell what an earlier run left in a folder")
    asked = parser.parse_args()
    if asked.side:
        side, place = asked.side
        serve(side, Path(place))
        return
    if asked.again:
        _print(list(rows(asked.again, list(_CONFIGS))))
        return
    begin = tuple(asked.models.split(","))
    names = [name for name in _CONFIGS if name.startswith(begin)][: 1 if asked.quick else None]
    with TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        _measure_both(folder, names)
        _print(list(rows(folder, names)))


def _print(found: list[Row]) -> None:
    titles = ("step there", "tuning", "batch", "slower", "FLOP/s alone", "`--as`", "calibrated")
    print("|", " | ".join((*titles, "units", "spread")), "|")
    print("|---" * (len(titles) + 2) + "|")
    for row in found:
        errors = " | ".join(f"{e:+.1%}" for e in (row.guessed, row.plain, row.calibrated))
        units = "–" if math.isnan(row.units) else f"{row.units:.1%}"
        print(
            f"| {row.model} | {row.tunable} | {row.batch_size} | {row.slower:.2f} | {errors} "
            f"| {units} | {row.spread:.1%} |"
        )
    others = [row for row in found if row.batch_size != _CALIBRATED_SIZE]
    _sum_up("by FLOP/s alone", [row.guessed for row in found])
    _sum_up("plain", [row.plain for row in found])
    _sum_up("calibrated", [row.calibrated for row in found])
    _sum_up("calibrated, other batches than the calibration's", [r.calibrated for r in others])
    _sum_up("units", [row.units for row in found if not math.isnan(row.units)])
    print("\nload averages:", *(f"{load:.1f}" for load in os.getloadavg()))


def _sum_up(what: str, errors: list[float]) -> None:
    sizes = [abs(error) for error in errors]
    if sizes:
        print(f"\n{what}: mean {statistics.mean(sizes):.1%}, at most {max(sizes):.1%}")


if __name__ == "__main__":
    main()
