"""What profiling costs, and whether it says the same twice.

Each model is profiled twice by the command, in a process of its own each time, with its times and
the device part. Counts (FLOPs, memory, cuts) have to be identical; a time agrees if the two
means differ by no more than what both say of their own spread.

    python -m benchmarks.reproducible
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.configurations import MODELS
from gaisnet.schema.files import read_model
from gaisnet.schema.profile import ModelPart, Profile, Spread

__all__ = ["Row", "measure"]

_PROFILED = ("MiniLM", "ViT-Tiny")
_MEASURED = {"timings", "update", "update_cpu"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """Two profiles of one model."""

    model: str
    wall_s: tuple[float, float]
    user_s: tuple[float, float]
    counts_equal: bool
    agreeing: int
    """Times of which the two means differ by no more than both spreads."""
    times: int
    step_differs: float
    """Relative difference of a whole step's CPU time, the largest over batch sizes."""


def measure(name: str, folder: Path) -> Row:
    """Profile a model twice, and compare."""
    architecture, config = MODELS[name]
    config.architectures = [architecture]
    source = folder / f"{name}.json"
    config.to_json_file(source, use_diff=False)
    runs = [_profile(source, folder / f"{name}-{turn}-profile.json") for turn in range(2)]
    first, second = (part for part, _, _ in runs)
    pairs = list(zip(_spreads(first), _spreads(second), strict=True))
    steps = [
        abs(a.step_cpu.expected_s - b.step_cpu.expected_s) / a.step_cpu.expected_s
        for a, b in zip(first.end_to_end, second.end_to_end, strict=True)
    ]
    return Row(
        model=name,
        wall_s=(runs[0][1], runs[1][1]),
        user_s=(runs[0][2], runs[1][2]),
        counts_equal=_counts(first) == _counts(second),
        agreeing=sum(abs(a.expected_s - b.expected_s) <= a.spread_s + b.spread_s for a, b in pairs),
        times=len(pairs),
        step_differs=max(steps),
    )


def _profile(source: Path, output: Path) -> tuple[ModelPart, float, float]:
    """The model part, wall time and user time of ``gaisnet profile``."""
    program = Path(sys.executable).with_name("gaisnet")
    command = [str(program), "profile", str(source), "-o", str(output)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    wall_s = time.perf_counter() - started
    user_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    part = read_model(output, Profile).model
    assert part is not None
    return part, wall_s, user_s


def _counts(part: ModelPart) -> list[dict[str, object]]:
    return [unit.model_dump(exclude=_MEASURED) for unit in part.units]


def _spreads(part: ModelPart) -> Iterator[Spread]:
    """CPU times of the units, each kind of block once: equal blocks share their times."""
    seen = set()
    for unit in part.units:
        for timing in unit.timings:
            for spread in (timing.forward_cpu, timing.backward_cpu):
                if spread.median_s > 0.0 and spread not in seen:
                    seen.add(spread)
                    yield spread


def main() -> None:
    """Print the table."""
    titles = ("model", "wall", "user", "counts", "times that agree", "step differs")
    print("|", " | ".join(titles), "|")
    print("|---" * len(titles) + "|")
    for name in _PROFILED:
        with TemporaryDirectory() as folder:
            row = measure(name, Path(folder))
        wall, user = (" and ".join(f"{s:.1f} s" for s in each) for each in (row.wall_s, row.user_s))
        counts = "identical" if row.counts_equal else "DIFFER"
        print(
            f"| {row.model} | {wall} | {user} | {counts} | {row.agreeing} of {row.times} | "
            f"{row.step_differs:.1%} |"
        )


if __name__ == "__main__":
    main()
