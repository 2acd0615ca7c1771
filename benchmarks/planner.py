"""How fast, and how close to proven, splitting is on random problems of growing size.

    python -m benchmarks.planner [--sizes 24x16,32x16,48x32] [--slacks 4,2.5,1.5] [--problems 5]

With ``--peers`` it compares others' placement rules with ``solve_split`` (``benchmarks/peers``).

Units x devices; slack is the devices' memory together over that of the model. Times are CPU
seconds of this one process, so that a busy machine does not distort them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gaisnet.planner import SplitProblem, solve_split
from gaisnet.planner.splitting.solution import Objective

OBJECTIVES: tuple[Objective, ...] = ("latency", "period", "makespan", "energy")


def random_problem(units: int, devices: int, slack: float, seed: int) -> SplitProblem:
    """Training over unequal devices: speeds over two decades, links over two, memory uneven."""
    rng = np.random.default_rng([units, devices, int(100 * slack), seed])
    size = rng.uniform(0.7, 1.3, units)
    activation_bytes = 1e7 * rng.uniform(0.5, 1.5, units)
    memory_share = rng.lognormal(0.0, 0.6, devices)
    memory_bytes = slack * (3e7 * size + activation_bytes).sum() * memory_share / memory_share.sum()
    return SplitProblem.model_validate(
        {
            "mode": "training",
            "units": [
                {
                    "forward_flops": 1e9 * scale,
                    "backward_flops": 2e9 * scale,
                    "param_bytes": 3e7 * scale,
                    "activation_bytes": activation,
                    "output_bytes": 1e6 * factor,
                }
                for scale, activation, factor in zip(
                    size, activation_bytes, rng.choice([0.5, 1, 1, 1, 2], units), strict=True
                )
            ],
            "devices": [
                {"flops_per_s": speed, "memory_bytes": memory, "joules_per_flop": joules}
                for speed, memory, joules in zip(
                    10 ** rng.uniform(9.5, 11.5, devices),
                    memory_bytes,
                    10 ** rng.uniform(-11, -9.5, devices),
                    strict=True,
                )
            ],
            "links": {
                "bandwidth_bytes_per_s": 10 ** rng.uniform(6.5, 8.5, (devices, devices)),
                "latency_s": rng.uniform(1e-3, 2e-2, (devices, devices)),
                "joules_per_byte": 10 ** rng.uniform(-8, -6.5, (devices, devices)),
            },
            "microbatches": 8,
        }
    )


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    units: int
    devices: int
    slack: float
    objective: Objective
    cpu_s: list[float]
    gaps: list[float]
    infeasible: int

    def __str__(self) -> str:
        proven = sum(gap == 0.0 for gap in self.gaps)
        return (
            f"{self.units:3} x {self.devices:<3} {self.slack:5}  {self.objective:9}"
            f" {statistics.median(self.cpu_s):9.2f} {max(self.cpu_s):9.2f}"
            f" {proven:4}/{len(self.cpu_s) - self.infeasible}"
            f" {100 * max(self.gaps, default=0.0):9.2f}%"
        )


def measure(
    units: int, devices: int, slack: float, problems: int, objectives: list[Objective]
) -> Iterator[Row]:
    """Solve the same problems for each objective."""
    for objective in objectives:
        row = Row(units, devices, slack, objective, [], [], 0)
        infeasible = 0
        for seed in range(problems):
            problem = random_problem(units, devices, slack, seed)
            started_s = time.process_time()
            answer = solve_split(problem, objective)
            row.cpu_s.append(time.process_time() - started_s)
            if answer.gap is None:
                infeasible += 1
            else:
                row.gaps.append(answer.gap)
        yield Row(units, devices, slack, objective, row.cpu_s, row.gaps, infeasible)


def compare_peers(arguments: argparse.Namespace) -> None:
    """The same problems for everybody's rules."""
    from benchmarks.peers.compare import run

    sizes = [tuple(int(part) for part in size.split("x")) for size in arguments.sizes.split(",")]
    slacks = [float(slack) for slack in arguments.slacks.split(",")]
    milp = arguments.milp_seconds, arguments.milp_problems
    run(random_problem, sizes, slacks, arguments.problems, *milp, arguments.save)


def main() -> None:
    """Parse the sizes, and print one line per size, slack and objective."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="24x16,32x16,48x32")
    parser.add_argument("--slacks", default="4,2.5,1.5")
    parser.add_argument("--problems", type=int, default=5)
    parser.add_argument("--objectives", default=",".join(OBJECTIVES))
    parser.add_argument("--peers", action="store_true", help="compare with others' rules")
    parser.add_argument("--milp-seconds", type=float, default=20.0)
    parser.add_argument("--milp-problems", type=int, default=1)
    parser.add_argument("--save", type=Path, help="where --peers keeps its figures (JSON)")
    arguments = parser.parse_args()
    if arguments.peers:
        compare_peers(arguments)
        return
    wanted = [name for name in OBJECTIVES if name in arguments.objectives.split(",")]
    print("units x devices, slack, objective, CPU s median, CPU s most, proven, widest gap")
    for size in arguments.sizes.split(","):
        units, devices = (int(part) for part in size.split("x"))
        for slack in arguments.slacks.split(","):
            for row in measure(units, devices, float(slack), arguments.problems, wanted):
                print(row, flush=True)


if __name__ == "__main__":
    main()
