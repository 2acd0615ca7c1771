"""Clustering against the enumeration of every partition."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gaisnet.planner.clustering import ClusterMember, ClusterProblem, solve_clusters
from gaisnet.planner.clustering.bounds import lower_bound
from gaisnet.planner.clustering.terms import arrays


def partitions(count: int, clusters: int) -> Iterator[list[int]]:
    """Every partition of ``count`` members into ``clusters``, as restricted growth strings."""

    def extend(prefix: list[int], used: int) -> Iterator[list[int]]:
        if len(prefix) == count:
            if used == clusters:
                yield prefix
            return
        for cluster in range(min(used + 1, clusters)):
            yield from extend([*prefix, cluster], max(used, cluster + 1))

    yield from extend([], 0)


def allowed(problem: ClusterProblem, assignment: list[int]) -> bool:
    for cluster in range(problem.clusters):
        inside = [i for i, c in enumerate(assignment) if c == cluster]
        members = [problem.members[i] for i in inside]
        if not any(m.owner for m in members):
            return False
        if sum(m.capacity_bytes for m in members) < problem.required_bytes * (1 - 1e-9):
            return False
        if not problem.min_devices <= len(members) <= (problem.max_devices or 99):
            return False
        rows = problem.round_trip_s
        if rows and any(math.isinf(rows[i][j]) for i in inside for j in inside if i != j):
            return False
    return True


def spread(counts: list[list[int]], assignment: list[int]) -> float:
    """Part of all label distances, weighted by both members' samples, within clusters."""
    inside = everything = 0.0
    for i, mine in enumerate(counts):
        for j, other in enumerate(counts[:i]):
            a, b = sum(mine), sum(other)
            if a and b:
                apart = sum(abs(m / a - o / b) for m, o in zip(mine, other, strict=True)) / 2.0
                everything += a * b * apart
                inside += a * b * apart * (assignment[i] == assignment[j])
    return inside / everything if everything else 0.0


def objective(problem: ClusterProblem, assignment: list[int]) -> float:
    """The definition in the docstring of ``ClusterTerms``, written out with loops."""
    members, clusters = problem.members, range(problem.clusters)
    groups = [[i for i, c in enumerate(assignment) if c == k] for k in clusters]
    classes = max((len(m.label_counts) for m in members), default=0)
    counts = [[*m.label_counts, *([0] * (classes - len(m.label_counts)))] for m in members]
    total = sum(map(sum, counts))
    tv = 0.0
    for group in groups:
        samples = sum(sum(counts[i]) for i in group)
        for y in range(classes):
            share = sum(row[y] for row in counts) / total if total else 0.0
            deviation = sum(counts[i][y] for i in group) - share * samples
            tv += abs(deviation) / (2 * total) if total else 0.0
    speeds = [sum(members[i].flops_per_s for i in group) for group in groups]
    mean = sum(speeds) / len(speeds)
    tau = max(0.0, 1.0 - min(speeds) / mean) if mean else 0.0
    if problem.policy == "similar":
        tv = spread(counts, assignment)
    near = 0.0
    rows = problem.round_trip_s
    if rows:
        count = len(members)
        finite = [
            (i, j, rows[i][j]) for i in range(count) for j in range(i) if math.isfinite(rows[i][j])
        ]
        everything = sum(r for _, _, r in finite)
        inside = sum(r for i, j, r in finite if assignment[i] == assignment[j])
        near = inside / everything if everything else 0.0
    return problem.label_weight * tv + problem.speed_weight * tau + problem.proximity_weight * near


@st.composite
def problems(draw: st.DrawFn, most: int = 7) -> ClusterProblem:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, most))
    clusters = draw(st.integers(1, min(4, count)))
    capacity = generator.integers(0, 10, count)
    distance = generator.uniform(0.001, 0.1, (count, count))
    distance = np.tril(distance, -1) + np.tril(distance, -1).T
    if draw(st.booleans()):
        cut = np.triu(generator.random((count, count)) < 0.15, 1)
        distance[cut | cut.T] = np.inf
    return ClusterProblem(
        members=tuple(
            ClusterMember(
                capacity_bytes=float(capacity[i]),
                flops_per_s=float(generator.uniform(1, 10)),
                label_counts=tuple(int(n) for n in generator.integers(0, 30, 3)),
                owner=bool(generator.random() < 0.7),
            )
            for i in range(count)
        ),
        clusters=clusters,
        policy=draw(st.sampled_from(["mix", "similar"])),
        required_bytes=float(draw(st.integers(0, 8))),
        round_trip_s=tuple(map(tuple, distance.tolist())) if draw(st.booleans()) else None,
        speed_weight=draw(st.sampled_from([0.0, 0.5, 3.0])),
        min_devices=draw(st.sampled_from([1, 1, 2])),
        max_devices=draw(st.sampled_from([None, None, 3])),
    )


@settings(max_examples=120, deadline=None)
@given(problem=problems())
def test_small_problems_are_solved_to_the_enumerated_optimum(problem: ClusterProblem) -> None:
    every = [
        objective(problem, list(p))
        for p in partitions(len(problem.members), problem.clusters)
        if allowed(problem, p)
    ]
    solution = solve_clusters(problem)
    if not every:
        assert solution.status == "infeasible"
        assert solution.reason
        return
    assert solution.status == "optimal"
    assert solution.value == pytest.approx(min(every), abs=2e-6)
    assert solution.bound is not None
    assert solution.bound <= min(every) + 2e-6
    assert allowed(problem, list(solution.assignment))
    assert objective(problem, list(solution.assignment)) == pytest.approx(solution.value)


@settings(max_examples=40, deadline=None)
@given(problem=problems())
def test_search_alone_is_allowed_and_its_bound_holds(problem: ClusterProblem) -> None:
    searched = solve_clusters(problem.model_copy(update={"exact_up_to": 0}))
    exact = solve_clusters(problem)
    if searched.assignment:
        assert allowed(problem, list(searched.assignment))
        assert exact.value is not None
        assert searched.value is not None
        assert searched.bound is not None
        assert searched.bound <= exact.value + 1e-9
        assert searched.value >= exact.value - 1e-9
    else:
        assert searched.status in ("unknown", "infeasible")


def skewed(count: int, clusters: int, seed: int = 0) -> ClusterProblem:
    """Devices near one another own the same labels: k-means gathers them."""
    generator = np.random.default_rng(seed)
    place = generator.integers(0, clusters, count)
    position = place[:, None] * 10.0 + generator.random((count, 2))
    distance = np.linalg.norm(position[:, None] - position[None], axis=-1)
    labels = np.eye(clusters, dtype=int)[place] * 50 + 1
    return ClusterProblem(
        members=tuple(
            ClusterMember(
                capacity_bytes=float(generator.integers(1, 9)),
                flops_per_s=float(generator.uniform(1, 20)),
                label_counts=tuple(int(n) for n in labels[i]),
                owner=True,
            )
            for i in range(count)
        ),
        clusters=clusters,
        required_bytes=count * 4.5 / clusters * 0.8,
        round_trip_s=tuple(map(tuple, distance.tolist())),
    )


def test_one_fast_device_bounds_how_even_clusters_can_be() -> None:
    """Speeds 90, 5 and 5 in two clusters: the others reach 10 of a mean of 50 at best."""
    members = tuple(ClusterMember(flops_per_s=s, owner=True) for s in (90.0, 5.0, 5.0))
    problem = ClusterProblem(members=members, clusters=2, speed_weight=1.0, exact_up_to=0)
    solution = solve_clusters(problem)
    assert solution.value == pytest.approx(0.8)
    assert lower_bound(arrays(problem)) == pytest.approx(0.8)
    assert solution.status == "optimal"


def test_larger_fleets_get_memory_in_every_cluster_and_mixed_labels() -> None:
    problem = skewed(60, 5)
    solution = solve_clusters(problem)
    assert allowed(problem, list(solution.assignment))
    assert solution.terms is not None
    gathered = objective(problem, [i * 5 // 60 for i in range(60)])
    assert solution.terms.label_tv < 0.05
    assert solution.value is not None
    assert solution.value < gathered


def test_a_proof_of_twenty_members_is_at_least_as_good_as_the_search() -> None:
    problem = skewed(18, 3)
    proven = solve_clusters(problem)
    searched = solve_clusters(problem.model_copy(update={"exact_up_to": 0}))
    assert proven.status == "optimal"
    assert proven.value is not None
    assert searched.value is not None
    assert searched.bound is not None
    assert searched.bound <= proven.value + 1e-9
    assert proven.value <= searched.value + 1e-9
    assert allowed(problem, list(proven.assignment))


def test_similar_devices_come_together_and_different_ones_under_mix() -> None:
    labels = [(40, 0), (0, 40), (40, 0), (0, 40), (30, 0), (0, 30)]
    members = tuple(ClusterMember(label_counts=counts, owner=True) for counts in labels)
    found = {
        policy: solve_clusters(
            ClusterProblem.model_validate(
                {"members": members, "clusters": 2, "policy": policy, "min_devices": 2}
            )
        )
        for policy in ("mix", "similar")
    }
    assert found["similar"].assignment == (0, 1, 0, 1, 0, 1)
    pure, mixed = found["similar"].terms, found["mix"].terms
    assert pure is not None
    assert mixed is not None
    assert pure.label_spread == pytest.approx(0.0)
    assert mixed.label_tv < pure.label_tv


@settings(max_examples=60, deadline=None)
@given(problem=problems())
def test_no_partition_is_below_the_bound(problem: ClusterProblem) -> None:
    data = arrays(problem)
    every = [p for p in partitions(len(problem.members), problem.clusters) if allowed(problem, p)]
    least = min((objective(problem, list(p)) for p in every), default=math.inf)
    assert lower_bound(data) <= least + 1e-9


def test_equal_problems_give_equal_solutions() -> None:
    assert solve_clusters(skewed(30, 3)) == solve_clusters(skewed(30, 3))


def test_too_little_memory_says_how_much_is_missing() -> None:
    members = tuple(ClusterMember(capacity_bytes=10.0, owner=True) for _ in range(4))
    solution = solve_clusters(ClusterProblem(members=members, clusters=2, required_bytes=25.0))
    assert solution.status == "infeasible"
    assert "10 more" in (solution.reason or "")


def test_more_clusters_than_owners_is_infeasible() -> None:
    members = (ClusterMember(owner=True), ClusterMember(), ClusterMember())
    solution = solve_clusters(ClusterProblem(members=members, clusters=2))
    assert solution.status == "infeasible"
    assert "owner" in (solution.reason or "")


def test_asymmetric_round_trips_are_refused() -> None:
    members = (ClusterMember(owner=True), ClusterMember(owner=True))
    with pytest.raises(ValidationError, match="symmetric"):
        ClusterProblem(members=members, clusters=1, round_trip_s=((0.0, 1.0), (2.0, 0.0)))
