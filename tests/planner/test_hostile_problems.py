"""Problems at and beyond every edge: each gets a clear answer, the one that enumeration gives."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner import (
    ClusterMember,
    ClusterProblem,
    SplitProblem,
    TradeoffProblem,
    evaluate_split,
    solve_clusters,
    solve_split,
    solve_tradeoff,
)
from tests.planner.splitting.oracle import OBJECTIVES, brute_force
from tests.planner.tradeoff.factory import make_cluster, make_group, make_load

few = settings(max_examples=60, deadline=None)
WORK = st.sampled_from([0.0, 1.0, 3.0, 1e12])
BYTES = st.sampled_from([0.0, 1.0, 2.0, 1e15])


@st.composite
def split_problems(draw: st.DrawFn) -> SplitProblem:
    """One to three devices and units; zero and infinite figures, one-way and missing links."""
    n, length = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    owner = draw(st.sampled_from([None, 0]))

    def matrix(figures: list[float]) -> list[list[float]]:
        return [[draw(st.sampled_from(figures)) for _ in range(n)] for _ in range(n)]

    return SplitProblem.model_validate(
        {
            "mode": draw(st.sampled_from(["inference", "training"])),
            "units": [
                {
                    "forward_flops": draw(WORK),
                    "backward_flops": draw(WORK),
                    "param_bytes": draw(BYTES),
                    "output_bytes": draw(BYTES),
                }
                for _ in range(length)
            ],
            "devices": [
                {
                    "flops_per_s": draw(st.sampled_from([1.0, 2.0, 1e-6, math.inf])),
                    "memory_bytes": draw(st.sampled_from([2.0, 0.0, 4.0, math.inf])),
                    "joules_per_flop": draw(st.sampled_from([0.0, 1.0])),
                    "price_per_hour": draw(st.sampled_from([0.0, 3600.0])),
                }
                for _ in range(n)
            ],
            "links": {
                "bandwidth_bytes_per_s": matrix([1.0, 0.0, math.inf, 1e-6]),
                "latency_s": matrix([0.0, 1.0]),
                "joules_per_byte": matrix([0.0, 1.0]),
            },
            "owner": owner,
            "topology": "chain" if owner is None else draw(st.sampled_from(["chain", "u_shape"])),
            "pin_first": 0 if owner is None else draw(st.integers(0, length)),
            "send_input": draw(st.booleans()),
            "input_bytes": draw(BYTES),
            "max_segments": draw(st.sampled_from([None, 1, 2, 99])),
            "microbatches": draw(st.sampled_from([1, 1000])),
            "energy_budget_j": draw(st.sampled_from([None, 0.0, 3.0, math.inf])),
            "cost_budget": draw(st.sampled_from([None, 0.0, 3.0, math.inf])),
        }
    )


@few
@given(split_problems(), st.sampled_from(OBJECTIVES))
def test_splits_of_any_figures_are_what_enumeration_says(
    problem: SplitProblem, objective: Any
) -> None:
    best, answer = brute_force(problem)[objective], solve_split(problem, objective)
    if math.isinf(best):
        assert (answer.status, answer.value, answer.segments) == ("infeasible", None, [])
        assert answer.reason
        return
    assert answer.status == "optimal"
    assert answer.value == pytest.approx(best, rel=1e-6)
    assert evaluate_split(problem, answer.segments).violations == ()


@few
@given(split_problems(), st.sampled_from(OBJECTIVES))
def test_every_limit_at_its_boundary_is_kept_and_just_below_is_not(
    problem: SplitProblem, objective: Any
) -> None:
    """With exactly the memory, energy, money and segments of the optimum it stays; with a little
    less of each the split is no longer allowed."""
    answer = solve_split(problem, objective)
    if answer.value is None:
        return
    used = evaluate_split(problem, answer.segments)
    devices = tuple(
        device.model_copy(update={"memory_bytes": used.memory_bytes[n]})
        for n, device in enumerate(problem.devices)
    )
    exact = problem.model_copy(
        update={
            "devices": devices,
            "energy_budget_j": used.energy_j,
            "cost_budget": used.cost,
            "max_segments": len(answer.segments),
        }
    )
    assert solve_split(exact, objective).value == pytest.approx(answer.value, rel=1e-6)
    for name, spent in (("energy_budget_j", used.energy_j), ("cost_budget", used.cost)):
        below = exact.model_copy(update={name: spent * (1 - 1e-6)})
        assert bool(evaluate_split(below, answer.segments).violations) == (spent > 0)


@st.composite
def cluster_problems(draw: st.DrawFn) -> ClusterProblem:
    """Up to five devices, more clusters than owners or devices, unreachable pairs."""
    n = draw(st.integers(1, 5))
    trips = [[0.0] * n for _ in range(n)]
    for a, b in itertools.combinations(range(n), 2):
        trips[a][b] = trips[b][a] = draw(st.sampled_from([0.0, 1.0, math.inf]))
    least = draw(st.integers(1, 3))
    return ClusterProblem(
        members=tuple(
            ClusterMember(
                capacity_bytes=draw(st.sampled_from([0.0, 1.0, 2.0, 1e15])),
                flops_per_s=draw(st.sampled_from([0.0, 1.0, 1e12])),
                label_counts=draw(st.sampled_from([(), (0, 0), (3, 1), (1, 5, 2)])),
                owner=draw(st.booleans()),
            )
            for _ in range(n)
        ),
        clusters=draw(st.integers(1, 4)),
        required_bytes=draw(st.sampled_from([0.0, 1.0, 2.0, 3.0])),
        round_trip_s=draw(st.sampled_from([None, tuple(map(tuple, trips))])),
        min_devices=least,
        max_devices=draw(st.sampled_from([None, least, 5])),
    )


def clustered(problem: ClusterProblem, assignment: tuple[int, ...]) -> bool:
    """Whether an assignment obeys every hard rule, by definition."""
    for cluster in range(problem.clusters):
        inside = [i for i, c in enumerate(assignment) if c == cluster]
        members = [problem.members[i] for i in inside]
        most = problem.max_devices or len(problem.members)
        if not problem.min_devices <= len(inside) <= most:
            return False
        if not any(member.owner for member in members):
            return False
        if sum(member.capacity_bytes for member in members) < problem.required_bytes:
            return False
        trips = problem.round_trip_s
        if trips and any(math.isinf(trips[a][b]) for a, b in itertools.permutations(inside, 2)):
            return False
    return True


@few
@given(cluster_problems())
def test_clusters_of_any_figures_are_possible_if_and_only_if_enumeration_finds_some(
    problem: ClusterProblem,
) -> None:
    every = itertools.product(range(problem.clusters), repeat=len(problem.members))
    possible = any(clustered(problem, assignment) for assignment in every)
    answer = solve_clusters(problem)
    assert bool(answer.assignment) == possible
    if possible:
        assert clustered(problem, tuple(answer.assignment))
    else:
        assert answer.reason


@st.composite
def tradeoff_problems(draw: st.DrawFn) -> TradeoffProblem:
    """Figures over many decades; SLOs that nobody meets, groups that nobody may serve."""
    decades = st.sampled_from([1e-9, 1.0, 100.0, 1e9])
    clusters = [
        make_cluster(
            f"c{c}",
            compute_flops_per_s=draw(decades),
            uplink_bytes_per_s=draw(decades),
            memory_bytes=draw(st.sampled_from([None, 0.0, 1.0])),
            tuning=draw(st.sampled_from([None, make_load(), make_load(traffic_bytes=0.0)])),
        )
        for c in range(draw(st.integers(1, 3)))
    ]
    groups = [
        make_group(
            f"g{g}",
            domain=draw(st.sampled_from(["", "d"])),
            rate_per_s=draw(decades),
            work_flops=draw(st.sampled_from([0.0, 1.0, 1e9])),
            request_bytes=draw(st.sampled_from([1.0, 1e9])),
            slo_s=draw(decades),
            slo_percentile=draw(st.sampled_from([None, 99.999])),
            service_scv=draw(st.sampled_from([0.0, 1.0, 100.0])),
            fixed_s=draw(st.sampled_from([0.0, 1.0])),
            clusters=draw(st.sampled_from([None, (), ("c0",)])),
        )
        for g in range(draw(st.integers(0, 2)))
    ]
    return TradeoffProblem(
        clusters=tuple(clusters),
        groups=tuple(groups),
        modules_bytes={"d": draw(st.sampled_from([0.0, 1.0, 2.0]))},
        routing=draw(st.sampled_from(["single", "fractional"])),
    )


@few
@given(tradeoff_problems())
def test_tradeoffs_of_any_figures_are_solved_or_refused(problem: TradeoffProblem) -> None:
    answer = solve_tradeoff(problem)
    if answer.status in ("infeasible", "unknown"):
        assert answer.routes == ()
        return
    assert answer.value is not None
    assert answer.bound is not None
    assert answer.bound >= answer.value - 1e-6 * max(1.0, abs(answer.value))
    served = {group.id: 0.0 for group in problem.groups}
    for route in answer.routes:
        served[route.group] += route.rate_per_s
    for group in problem.groups:
        assert served[group.id] == pytest.approx(group.rate_per_s, rel=1e-4)
        assert not group.clusters or {
            route.cluster for route in answer.routes if route.group == group.id
        } <= set(group.clusters)
    for shares in answer.shares:
        own = [route for route in answer.routes if route.cluster == shares.cluster]
        assert shares.compute_share + sum(route.compute_share for route in own) <= 1 + 1e-6
        assert shares.uplink_share + sum(route.uplink_share for route in own) <= 1 + 1e-6
