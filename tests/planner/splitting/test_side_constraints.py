"""Every side constraint, alone and with others: programme, search and brute force agree."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner import SplitProblem, evaluate_split, solve_split
from tests.planner.splitting.oracle import OBJECTIVES, RULES, brute_force, random_rules

seeds = st.integers(0, 10**6)
objectives = st.sampled_from(OBJECTIVES)
SOLVERS: tuple[Literal["auto", "exact", "milp"], ...] = ("auto", "exact", "milp")


def check(problem: SplitProblem, objective: Any) -> None:
    best = brute_force(problem)[objective]
    for solver in SOLVERS:
        answer = solve_split(problem, objective, solver=solver)
        if math.isinf(best):
            assert answer.status == "infeasible", solver
            assert answer.reason
            continue
        assert answer.status == "optimal", (solver, answer)
        assert answer.value == pytest.approx(best, rel=2e-6, abs=1e-9), solver
        assert evaluate_split(problem, answer.segments).violations == ()


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=25, deadline=None)
@given(seed=seeds, objective=objectives)
def test_each_rule_alone(rule: str, seed: int, objective: str) -> None:
    check(random_rules(seed, (rule,)), objective)


@settings(max_examples=120, deadline=None)
@given(seeds, objectives, st.sets(st.sampled_from(RULES), min_size=2))
def test_rules_together(seed: int, objective: str, rules: set[str]) -> None:
    check(random_rules(seed, tuple(sorted(rules))), objective)
