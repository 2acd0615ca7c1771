"""Every side constraint, alone and with others: programme, search and brute force agree."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gaisnet.planner import SplitProblem, evaluate_split, solve_split
from gaisnet.planner.splitting import solve_instance
from gaisnet.planner.splitting.conflict import LOOSE as CONFLICTING
from gaisnet.planner.splitting.conflict import conflict
from gaisnet.planner.splitting.instance import translate
from tests.planner.splitting.oracle import (
    OBJECTIVES,
    RULES,
    brute_force,
    crowded,
    random_fields,
    random_rules,
)

seeds = st.integers(0, 10**6)
objectives = st.sampled_from(OBJECTIVES)
SOLVERS: tuple[Literal["auto", "exact", "milp"], ...] = ("auto", "exact", "milp")


def check(problem: SplitProblem, objective: Any) -> None:
    best = brute_force(problem)[objective]
    for solver in SOLVERS:
        if math.isinf(best):
            blank = solve_instance(translate(problem), objective, solver=solver)
            assert blank.status == "infeasible", solver
            continue
        answer = solve_split(problem, objective, solver=solver)
        assert answer.status == "optimal", (solver, answer)
        assert answer.value == pytest.approx(best, rel=2e-6, abs=1e-9), solver
        assert evaluate_split(problem, answer.segments).violations == ()


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=15, deadline=None)
@given(seed=seeds, objective=objectives)
def test_each_rule_alone(rule: str, seed: int, objective: str) -> None:
    check(random_rules(seed, (rule,)), objective)


@settings(max_examples=80, deadline=None)
@given(seeds, objectives, st.sets(st.sampled_from(RULES), min_size=2))
def test_rules_together(seed: int, objective: str, rules: set[str]) -> None:
    check(random_rules(seed, tuple(sorted(rules))), objective)


LOOSE: dict[str, Any] = {
    "max_segments": None, "max_leakage": None, "energy_budget_j": None, "cost_budget": None,
    "pin_first": 0, "pin_last": 0,
}  # fmt: skip


def loosened(problem: SplitProblem, name: str) -> SplitProblem:
    return problem.model_copy(update={name: LOOSE.get(name, ())})


@settings(max_examples=40, deadline=None)
@given(seeds, st.sets(st.sampled_from(RULES), min_size=1, max_size=4))
def test_a_conflict_is_irreducible_and_each_mend_mends(seed: int, rules: set[str]) -> None:
    problem = random_rules(seed, tuple(sorted(rules)))
    if solve_split(problem, "latency").status != "infeasible":
        return
    names = conflict(problem, solve_instance)
    active = [name for name in CONFLICTING if getattr(problem, name) != LOOSE.get(name, ())]
    everything = problem
    for name in active:
        everything = loosened(everything, name)
    if not names:
        assert math.isinf(brute_force(everything)["latency"])
        return
    alone = problem
    for name in set(active) - set(names):
        alone = loosened(alone, name)
    assert math.isinf(brute_force(alone)["latency"])
    for name in names:
        assert math.isfinite(brute_force(loosened(alone, name))["latency"])


@settings(max_examples=40, deadline=None)
@example(102, "max_segments")  # every device, and the owner twice
@given(seeds, st.sampled_from(["energy_budget_j", "cost_budget", "max_leakage", "max_segments"]))
def test_the_smallest_mend_of_a_figure_suffices_and_less_does_not(seed: int, name: str) -> None:
    problem = random_rules(seed, ())
    tight = problem.model_copy(
        update={name: {"max_leakage": 0.05, "max_segments": 1}.get(name, 0.0)}
    )
    answer = solve_split(tight, "latency")
    free = solve_split(loosened(problem, name), "latency")
    if answer.status != "infeasible" or free.status == "infeasible":
        return
    assert answer.reason is not None
    asked = re.search(rf"raise {name} from \S+ to ([0-9.e+-]+)", answer.reason)
    if not asked:
        assert "(max_segments 1) have" in answer.reason
        return
    enough = float(asked[1]) if name != "max_segments" else int(asked[1])
    less = enough - 1 if name == "max_segments" else enough * (1 - 1e-4)
    mended, spoilt = (problem.model_copy(update={name: level}) for level in (enough, less))
    assert math.isfinite(brute_force(mended)["latency"])
    assert math.isinf(brute_force(spoilt)["latency"])


def test_the_reason_names_the_conflict_and_what_mends_it() -> None:
    problem = SplitProblem(
        units=[{"forward_flops": 1, "param_bytes": 1, "output_bytes": 1}] * 2,
        devices=[{"flops_per_s": 1, "memory_bytes": 2, "joules_per_flop": j} for j in (1, 2)],
        links={"bandwidth_bytes_per_s": [[1, 1]] * 2, "latency_s": [[0, 0]] * 2,
               "joules_per_byte": [[0, 0]] * 2},
        forced_devices=[1],
        energy_budget_j=2.5,
    )  # fmt: skip
    assert solve_split(problem, "latency").reason == (
        "energy_budget_j and forced_devices conflict, given memory and links: "
        "raise energy_budget_j from 2.5 to 3.00003; or take 1 out of forced_devices"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"forced_devices": [7]}, "forced_devices names"),
        ({"apart_devices": [[0, 9]]}, "apart_devices names"),
        ({"colocated_units": [[0, 99]]}, "colocated_units names"),
        ({"privacy_tiers": [{"first_units": 99, "devices": [0]}]}, "first_units is 99"),
        ({"energy_budget_j": math.nan}, "NaN"),
        ({"cost_budget": -1.0}, "greater than or equal to 0"),
        ({"max_leakage": 1.5}, "less than or equal to 1"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        SplitProblem(**(random_fields(3) | changes))


@pytest.mark.parametrize("seed", range(2))
def test_identical_devices_are_ordered_without_losing_the_optimum(seed: int) -> None:
    problem = crowded(seed, kinds=2, each=3, units=5)
    problem = problem.model_copy(update={"apart_devices": ((0, 3),), "forced_devices": (1,)})
    for objective in OBJECTIVES:
        check(problem, objective)
