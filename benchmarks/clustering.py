"""How balanced, how near and how proven clusters are, beside plain k-means on the same features.

    python -m benchmarks.clustering [--sizes 24x3,100x10,1000x100] [--seeds 3] [--policy mix]

Members x clusters. Random fleets: memory and speed over a decade, ten classes in proportions
drawn from Dirichlet(0.3), places in a square; a cluster needs 60 % of the mean memory per cluster.
Times are CPU seconds of this one process. ``broken`` counts clusters that cannot hold the model;
the objective of plain k-means is without any penalty for those.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from gaisnet.planner import ClusterProblem, ClusterSolution, solve_clusters
from gaisnet.planner.clustering.starts import features, k_means
from gaisnet.planner.clustering.terms import arrays, sums, terms


def random_problem(members: int, clusters: int, seed: int, policy: str = "mix") -> ClusterProblem:
    """Unequal devices with skewed labels at random places."""
    rng = np.random.default_rng([members, clusters, seed])
    place = rng.uniform(0.0, 1.0, (members, 2))
    trips = 0.002 + 0.1 * np.linalg.norm(place[:, None] - place[None, :], axis=-1)
    memory = rng.lognormal(0.0, 0.6, members)
    labels = rng.dirichlet(np.full(10, 0.3), members) * rng.uniform(50, 200, (members, 1))
    return ClusterProblem.model_validate(
        {
            "members": [
                {
                    "capacity_bytes": memory[i],
                    "flops_per_s": 10 ** rng.uniform(9.5, 10.5),
                    "label_counts": [int(n) for n in labels[i]],
                    "owner": bool(i < clusters or rng.random() < 0.8),
                }
                for i in range(members)
            ],
            "clusters": clusters,
            "required_bytes": 0.6 * memory.sum() / clusters,
            "round_trip_s": (trips + trips.T) / 2.0 * (1.0 - np.eye(members)),
            "policy": policy,
            "seed": seed,
        }
    )


def plain(problem: ClusterProblem) -> tuple[float, int]:
    """Objective of k-means alone, and clusters that break a constraint on memory."""
    data = arrays(problem)
    assignment = k_means(features(data), problem.clusters, problem.seed)
    missing = int((sums(data, assignment).capacity < 1.0).sum())
    return terms(data, assignment).total, missing


def line(size: str, seed: int, problem: ClusterProblem) -> float:
    """Solve and print one row; returns the ratio of the objectives."""
    start = time.process_time()
    found: ClusterSolution = solve_clusters(problem)
    seconds = time.process_time() - start
    value, broken = plain(problem)
    assert found.value is not None
    assert found.terms is not None
    missing = int((sums(arrays(problem), np.array(found.assignment)).capacity < 1.0).sum())
    ratio = value / found.value
    print(
        f"| {size} | {seed} | {seconds:.1f} | {found.value:.4f} | {found.bound:.4f} | "
        f"{found.gap:.1%} | {missing} | {value:.4f} | {broken} | {ratio:.2f} |",
        flush=True,
    )
    return ratio


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clustering")
    parser.add_argument("--sizes", default="24x3,100x10,1000x100")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--policy", choices=("mix", "similar"), default="mix")
    options = parser.parse_args()
    print("| size | seed | CPU s | objective | bound | gap | broken | k-means | broken | ratio |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for size in options.sizes.split(","):
        members, clusters = map(int, size.split("x"))
        ratios = [
            line(size, seed, random_problem(members, clusters, seed, options.policy))
            for seed in range(options.seeds)
        ]
        print(f"| {size} | median | | | | | | | | {statistics.median(ratios):.2f} |")


if __name__ == "__main__":
    main()
