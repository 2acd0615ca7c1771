"""``make bench``: every benchmark in turn, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

ORDER = (
    "startup",
    "executor",
    "engines",
    "coordinator",
    "latency",
    "cluster",
    "detection",
    "generation",
    "profiler",
    "step_times",
    "reproducible",
    "stages",
    "extrapolation",
    "planner",
    "replan",
    "clustering",
    "tradeoff",
)


def main() -> None:
    """Stop at the first that fails."""
    for name in ORDER:
        print(f"\n== {name} ==", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
