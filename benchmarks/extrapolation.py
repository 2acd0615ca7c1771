"""Times carried over to another device, against times measured there.

The other device is this machine without its wide vector instructions: a process that has
``ATEN_CPU_CAPABILITY=default`` and its like, two to five times slower, in unlike measure for
products, attention and functions. Both processes run side by side, so that they are disturbed
alike. Here models are profiled; there only the device is (``--device-only``), and one step is
timed (``--calibration``). Then each model is really profiled there, and its times are set beside
what ``--as`` makes of the profile from here, without and with ``--calibrate``.

    python -m benchmarks.extrapolation [--quick]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers

from gaisnet.extrapolation import extrapolate, step_s
from gaisnet.profiler import calibration_step, profile_device, profile_model
from gaisnet.schema.calibration import CalibrationStep
from gaisnet.schema.files import canonical_json, read_model
from gaisnet.schema.model import FullSpec, LoraSpec, ModelSpec, TunableSpec
from gaisnet.schema.profile import ModelPart, Profile

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
_TOKENS = 64
_BATCH_SIZES = (1, 4)


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
    """Mean relative error over the units' passes, weighted by time, after that step."""


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
        for first, second in zip(one.timings, other.timings, strict=True)
        if first.batch_size == batch_size
        for pair in (
            (first.forward_cpu.median_s, second.forward_cpu.median_s),
            (first.backward_cpu.median_s, second.backward_cpu.median_s),
        )
    ]
    return sum(abs(a - b) for a, b in pairs) / sum(b for _, b in pairs)


def measure(side: str, folder: Path, names: list[str]) -> None:
    """What one of the two processes does: the device, and each model with one step of it."""
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    _write(folder / f"{side}-device.json", Profile(device=profile_device(device="cpu")))
    for name in names:
        spec = ModelSpec(source=str(folder / f"{name}.json"))
        for kind, tunable in _TUNABLES.items():
            if side == "there":
                step = calibration_step(
                    spec, tunable, batch_size=max(_BATCH_SIZES), tokens=_TOKENS, device="cpu"
                )
                _write(folder / f"{side}-{name}-{kind}-step.json", step)
            part = profile_model(
                spec, tunable, batch_sizes=_BATCH_SIZES, tokens=_TOKENS, device="cpu"
            )
            _write(folder / f"{side}-{name}-{kind}.json", Profile(model=part))


def _write(path: Path, document: Profile | CalibrationStep) -> None:
    path.write_text(canonical_json(document))


def _measure_both(folder: Path, names: list[str]) -> None:
    for name in names:
        architecture, config = _CONFIGS[name]
        config.architectures = [architecture]
        config.to_json_file(folder / f"{name}.json", use_diff=False)
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.extrapolation", "--side", side, str(folder), *names],
            env=os.environ | {"OMP_NUM_THREADS": "1"} | slowed,
        )
        for side, slowed in (("here", {}), ("there", SLOWED))
    ]
    for process in running:
        if process.wait():
            raise SystemExit(f"a measuring process failed: {process.args}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one model")
    parser.add_argument("--side", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--keep", type=Path, help="folder to leave the profiles in")
    asked = parser.parse_args()
    if asked.side:
        side, folder, *names = asked.side
        measure(side, Path(folder), names)
        return
    names = list(_CONFIGS)[: 1 if asked.quick else None]
    with TemporaryDirectory() as place:
        folder = asked.keep or Path(place)
        folder.mkdir(exist_ok=True)
        _measure_both(folder, names)
        _print(list(rows(folder, names)))


def _print(found: list[Row]) -> None:
    print("| step there | tuning | batch | slower | FLOP/s alone | `--as` | calibrated | units |")
    print("|---|---|---|---|---|---|---|---|")
    for row in found:
        errors = " | ".join(f"{e:+.1%}" for e in (row.guessed, row.plain, row.calibrated))
        print(
            f"| {row.model} | {row.tunable} | {row.batch_size} | {row.slower:.2f} | {errors} "
            f"| {row.units:.1%} |"
        )
    for name in ("guessed", "plain", "calibrated", "units"):
        errors = [abs(getattr(row, name)) for row in found]
        print(f"\n{name}: mean {statistics.mean(errors):.1%}, at most {max(errors):.1%}")


if __name__ == "__main__":
    main()
