"""Small trade-off problems."""

from __future__ import annotations

from typing import Any

import numpy as np

from gaisnet.planner.tradeoff import FineTuningLoad, TradeoffCluster, TradeoffProblem, UserGroup

__all__ = ["make_cluster", "make_group", "make_load", "make_problem", "random_problem"]


def make_load(**changes: Any) -> FineTuningLoad:
    figures: dict[str, Any] = {
        "work_flops": 100.0,
        "traffic_bytes": 50.0,
        "utility": 1.0,
        "gamma": 0.5,
        "scale_rounds": 20.0,
        "horizon_s": 1000.0,
    }
    return FineTuningLoad(**{**figures, **changes})


def make_cluster(name: str = "c0", **changes: Any) -> TradeoffCluster:
    figures: dict[str, Any] = {
        "compute_flops_per_s": 100.0,
        "uplink_bytes_per_s": 80.0,
        "tuning": make_load(),
    }
    return TradeoffCluster(id=name, **{**figures, **changes})


def make_group(name: str = "g0", **changes: Any) -> UserGroup:
    figures: dict[str, Any] = {
        "rate_per_s": 2.0,
        "work_flops": 10.0,
        "request_bytes": 5.0,
        "slo_s": 1.0,
    }
    return UserGroup(id=name, **{**figures, **changes})


def make_problem(*groups: UserGroup, clusters: int = 1, **changes: Any) -> TradeoffProblem:
    places = tuple(make_cluster(f"c{c}") for c in range(clusters))
    return TradeoffProblem(**{"clusters": places, "groups": groups, **changes})


def random_problem(seed: int, clusters: int, groups: int, **changes: Any) -> TradeoffProblem:
    """Clusters and groups that differ in everything; loads near 40 % of the capacity."""
    draw = np.random.default_rng(seed).uniform
    places = tuple(
        make_cluster(
            f"c{c}",
            compute_flops_per_s=draw(60.0, 200.0),
            uplink_bytes_per_s=draw(50.0, 150.0),
            tuning=make_load(utility=draw(0.5, 2.0), overlapped=draw() < 0.5),
        )
        for c in range(clusters)
    )
    rate = 4.0 * clusters / groups
    users = tuple(
        make_group(
            f"g{g}",
            rate_per_s=rate * draw(0.5, 1.0),
            slo_s=draw(1.0, 3.0),
            slo_percentile=95.0 if draw() < 0.3 else None,
            service_scv=draw(0.0, 1.2),
            delay_weight=0.05 * draw(),
        )
        for g in range(groups)
    )
    return TradeoffProblem(**{"clusters": places, "groups": users, **changes})
