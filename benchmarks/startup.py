"""Time to ``gaisnet --help`` beside a bare interpreter and beside importing torch alone.

Whole processes in turn, so that contention touches all alike; medians. Target: at most 0.4 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

TARGET_S = 0.4
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "gaisnet --help": [sys.executable, "-m", "gaisnet.cli", "--help"],
    "python -c 'import torch'": [sys.executable, "-c", "import torch"],
}


def measure(turns: int = 9) -> dict[str, float]:
    """Median wall seconds of each command."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(turns + 1):
        for name, command in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if turn > 0:  # the first fills the file cache
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in times.items()}


def main() -> None:
    """Print one run."""
    for name, seconds in measure().items():
        print(f"  {name:26s} {seconds:6.3f} s")
    print(f"  target for --help: at most {TARGET_S} s")


if __name__ == "__main__":
    main()
