"""Every solver against brute force on hundreds of random small problems."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from gaisnet.planner import SplitProblem, SplitSolution, evaluate_split, solve_split
from tests.planner.splitting.oracle import (
    OBJECTIVES,
    brute_force,
    every_split,
    figures,
    random_problem,
)


def check_against_oracle(
    problem: SplitProblem, answer: SplitSolution, expected: float, objective: str
) -> None:
    if expected == math.inf:
        assert answer.status == "infeasible"
        assert (answer.value, answer.bound, answer.gap, answer.segments) == (None, None, None, [])
        return
    assert answer.status == "optimal"
    assert answer.value == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert (answer.bound, answer.gap) == (answer.value, 0.0)
    by_definition = figures(problem, answer.segments)
    assert by_definition is not None
    assert by_definition[objective] == pytest.approx(answer.value, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("block", range(10))
def test_search_finds_the_brute_force_optimum(block: int) -> None:
    for seed in range(60 * block, 60 * (block + 1)):
        problem = random_problem(seed)
        best = brute_force(problem)
        for objective in OBJECTIVES:
            answer = solve_split(problem, objective, solver="exact")
            check_against_oracle(problem, answer, best[objective], objective)


@pytest.mark.parametrize("solver", ["milp", "subset_dp"])
@pytest.mark.parametrize("block", range(3))
def test_the_other_solvers_agree(solver: str, block: int) -> None:
    for seed in range(1000 + 25 * block, 1000 + 25 * (block + 1)):
        problem = random_problem(seed)
        best = brute_force(problem)
        for objective in OBJECTIVES:
            answer = solve_split(problem, objective, solver=solver)
            check_against_oracle(problem, answer, best[objective], objective)


def test_the_random_problems_cover_every_rule() -> None:
    problems = [random_problem(seed) for seed in range(600)]
    outcomes = Counter(math.isinf(brute_force(problem)["latency"]) for problem in problems)
    assert outcomes[True] > 100
    assert outcomes[False] > 200
    for field in ("mode", "topology", "pin_first", "pin_last", "send_input", "microbatches"):
        assert len({getattr(problem, field) for problem in problems}) > 1, field


def test_evaluation_is_the_definition() -> None:
    compared = 0
    for seed in range(100):
        problem = random_problem(seed, devices=3, units=4)
        for path in every_split(problem):
            expected, found = figures(problem, path), evaluate_split(problem, path)
            assert (expected is None) == bool(found.violations), (path, found.violations)
            if expected:
                compared += 1
                for objective in OBJECTIVES:
                    name = f"{objective}_{'j' if objective == 'energy' else 's'}"
                    assert found[name] == pytest.approx(expected[objective], rel=1e-12)
    assert compared > 100
