"""How long shares and single-homed routing take, and how close to proven they are.

    python -m benchmarks.tradeoff [--sizes 8x50,16x100,32x200] [--loads 0.4,0.8] [--seeds 3]

Clusters x user groups; the load is what the groups' requests alone take of the mean cluster's
compute, before their SLOs ask for room; where it is above a half, SLOs are looser in proportion to
what it leaves, or nothing would be feasible. Times are CPU seconds of this one process.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from gaisnet.planner import TradeoffProblem, solve_tradeoff


def random_problem(clusters: int, groups: int, load: float, seed: int) -> TradeoffProblem:
    """Clusters and groups that differ in everything; mean SLOs and 95th percentiles."""
    draw = np.random.default_rng([clusters, groups, int(100 * load), seed]).uniform
    rate = load * 12.0 * clusters / groups
    loosened = max(1.0, 0.5 / (1.0 - load))
    return TradeoffProblem.model_validate(
        {
            "clusters": [
                {
                    "id": f"c{c}",
                    "compute_flops_per_s": draw(60.0, 200.0),
                    "uplink_bytes_per_s": draw(50.0, 150.0),
                    "tuning": {
                        "work_flops": 100.0,
                        "traffic_bytes": 50.0,
                        "utility": draw(0.5, 2.0),
                        "gamma": 0.5,
                        "scale_rounds": 20.0,
                        "horizon_s": 1000.0,
                    },
                }
                for c in range(clusters)
            ],
            "groups": [
                {
                    "id": f"g{g}",
                    "rate_per_s": rate * draw(0.5, 1.0),
                    "work_flops": 10.0,
                    "request_bytes": 5.0,
                    "slo_s": draw(2.0, 6.0) * loosened * groups / (6.0 * clusters),
                    "slo_percentile": 95.0 if draw() < 0.3 else None,
                    "service_scv": draw(0.0, 1.2),
                    "delay_weight": 0.05 * draw(),
                }
                for g in range(groups)
            ],
        }
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tradeoff")
    parser.add_argument("--sizes", default="8x50,16x100,32x200")
    parser.add_argument("--loads", default="0.4,0.8")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("| size | load | seed | status | value | gap | CPU s |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for size in options.sizes.split(","):
        clusters, groups = map(int, size.split("x"))
        for load in map(float, options.loads.split(",")):
            for seed in range(options.seeds):
                problem = random_problem(clusters, groups, load, seed)
                start = time.process_time()
                found = solve_tradeoff(problem)
                seconds = time.process_time() - start
                value = "" if found.value is None else f"{found.value:.4f}"
                gap = "" if found.gap is None else f"{found.gap:.2%}"
                print(
                    f"| {size} | {load:g} | {seed} | {found.status} | {value} | {gap} | "
                    f"{seconds:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
