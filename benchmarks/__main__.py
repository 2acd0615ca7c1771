"""``make bench``: every benchmark in turn, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ORDER = (
    "startup",
    "executor",
    "engines",
    "generation",
    "profiler",
    "reproducible",
    "stages",
    "extrapolation",
    "planner",
    "replan",
    "clustering",
    "tradeoff",
)


def main() -> None:
    """Run those that there are; stop at the first that fails."""
    for name in ORDER:
        if not (Path(__file__).parent / f"{name}.py").exists():
            continue
        print(f"\n== {name} ==", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
