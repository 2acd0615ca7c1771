"""The Pareto front against the enumeration of every split."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner import SplitProblem, evaluate_split, solve_split, solve_split_front
from tests.planner.splitting.oracle import (
    OBJECTIVES,
    RULES,
    every_split,
    figures,
    random_problem,
    random_rules,
)

PAIRS = list(itertools.permutations(OBJECTIVES, 2))
seeds = st.integers(0, 10**6)


def enumerated(problem: SplitProblem, pair: tuple[str, str]) -> list[tuple[float, float]]:
    """Non-dominated pairs of values, by definition; values closer than 1e-9 are equal."""
    found = [figures(problem, path) for path in every_split(problem)]
    values = sorted({(each[pair[0]], each[pair[1]]) for each in found if each})
    front: list[tuple[float, float]] = []
    for value in values:
        if front and value[1] >= front[-1][1] * (1 - 1e-9):
            continue
        if front and value[0] <= front[-1][0] * (1 + 1e-9):
            front.pop()
        front.append(value)
    return front


def check(problem: SplitProblem, pair: Any) -> None:
    front, expected = solve_split_front(problem, pair), enumerated(problem, pair)
    assert front.complete
    assert (front.reason is None) == bool(expected)
    assert [point.values for point in front.points] == [
        pytest.approx(value, rel=1e-8) for value in expected
    ]
    for point in front.points:
        assert evaluate_split(problem, point.segments).violations == ()


@settings(max_examples=80, deadline=None)
@given(seeds, st.sampled_from(PAIRS))
def test_front_is_complete_and_exact(seed: int, pair: tuple[str, str]) -> None:
    check(random_problem(seed), pair)


def test_values_that_differ_by_rounding_are_equal() -> None:
    check(random_rules(83, ("forbidden_devices",)), ("latency", "period"))


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from(PAIRS), st.sets(st.sampled_from(RULES), min_size=1, max_size=2))
def test_front_under_side_constraints(seed: int, pair: tuple[str, str], rules: set[str]) -> None:
    check(random_rules(seed, tuple(sorted(rules))), pair)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_each_point_answers_an_epsilon_constraint(seed: int) -> None:
    """With the energy of a point as budget, the point is the fastest split."""
    problem = random_problem(seed)
    for point in solve_split_front(problem).points:
        capped = problem.model_copy(update={"energy_budget_j": point.values[1]})
        assert solve_split(capped, "latency").value == pytest.approx(point.values[0], rel=1e-8)


def test_a_front_can_be_thinned_and_keeps_its_ends() -> None:
    problem = random_problem(44, devices=5, units=7)
    whole = solve_split_front(problem).points
    assert len(whole) > 3
    few = solve_split_front(problem, points=3).points
    assert len(few) == 3
    assert (few[0], few[-1]) == (whole[0], whole[-1])


def test_a_limit_that_is_hit_is_said() -> None:
    problem = random_problem(44, devices=5, units=7)
    assert not solve_split_front(problem, node_limit=3).complete


@pytest.mark.parametrize(
    ("pair", "points"),
    [(("latency", "latency"), None), (("latency", "speed"), None), (("latency", "energy"), 1)],
)
def test_what_is_no_front_is_refused(pair: Any, points: int | None) -> None:
    with pytest.raises(ValueError, match=r"objective|points"):
        solve_split_front(random_problem(1), pair, points=points)
