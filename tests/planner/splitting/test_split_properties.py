"""What must hold of any problem, whatever its numbers."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.errors import UnprovenError
from gaisnet.planner import SplitProblem, evaluate_split, solve_split
from tests.planner.splitting.oracle import OBJECTIVES, crowded, random_fields, random_problem

seeds = st.integers(0, 10**6)
objectives = st.sampled_from(OBJECTIVES)
few = settings(max_examples=60, deadline=None)


def value(fields: dict[str, Any], objective: Any) -> float:
    found = solve_split(SplitProblem(**fields), objective).value
    return math.inf if found is None else found


@few
@given(seeds, objectives, st.integers(0, 3))
def test_more_memory_never_hurts(seed: int, objective: str, extra: int) -> None:
    fields = random_fields(seed)
    before = value(fields, objective)
    for device in fields["devices"]:
        device["memory_bytes"] += extra
    assert value(fields, objective) <= before * (1 + 1e-9)


@few
@given(seeds, objectives)
def test_relabelling_devices_changes_nothing(seed: int, objective: str) -> None:
    fields = random_fields(seed)
    count = len(fields["devices"])
    order = random.Random(seed).sample(range(count), count)
    moved = dict(fields)
    moved["devices"] = [fields["devices"][n] for n in order]
    moved["links"] = {
        name: [[rows[n][m] for m in order] for n in order] for name, rows in fields["links"].items()
    }
    moved["owner"] = None if fields["owner"] is None else order.index(fields["owner"])
    assert value(moved, objective) == pytest.approx(value(fields, objective), rel=1e-9)


@few
@given(seeds, objectives, st.sampled_from([1e-6, 1e6]))
def test_other_units_of_time_and_energy_scale_the_value(
    seed: int, objective: str, factor: float
) -> None:
    fields = random_fields(seed)
    before = value(fields, objective)
    for device in fields["devices"]:
        device["flops_per_s"] /= factor
        device["joules_per_flop"] *= factor
    for name, power in (("bandwidth_bytes_per_s", -1), ("latency_s", 1), ("joules_per_byte", 1)):
        rows = fields["links"][name]
        fields["links"][name] = [[figure * factor**power for figure in row] for row in rows]
    assert value(fields, objective) == pytest.approx(before * factor, rel=1e-9)


@few
@given(seeds, objectives)
def test_a_looser_rule_never_hurts(seed: int, objective: str) -> None:
    fields = random_fields(seed)
    before = value(fields, objective)
    for field, loose in (("max_segments", None), ("pin_first", 0), ("pin_last", 0)):
        assert value({**fields, field: loose}, objective) <= before * (1 + 1e-9)


@few
@given(seeds)
def test_makespan_lies_between_its_parts(seed: int) -> None:
    fields = random_fields(seed)
    found = {objective: value(fields, objective) for objective in OBJECTIVES}
    waits = fields["microbatches"] - 1
    if math.isinf(found["latency"]):
        return
    least = found["latency"] + waits * found["period"]
    assert found["makespan"] >= least * (1 - 1e-9)
    if waits == 0:
        assert found["makespan"] == pytest.approx(found["latency"], rel=1e-9)


@few
@given(seeds, objectives)
def test_memory_down_to_what_the_optimum_uses_keeps_the_optimum(seed: int, objective: Any) -> None:
    fields = random_fields(seed)
    answer = solve_split(SplitProblem(**fields), objective)
    if answer.value is None:
        return
    used = evaluate_split(SplitProblem(**fields), answer.segments).memory_bytes
    for device, memory in zip(fields["devices"], used, strict=True):
        device["memory_bytes"] = memory
    assert value(fields, objective) == pytest.approx(answer.value, rel=1e-9)


@few
@given(seeds, objectives)
def test_equal_problems_get_equal_answers(seed: int, objective: Any) -> None:
    answers = [solve_split(random_problem(seed), objective) for _ in range(2)]
    first, second = (answer.model_copy(update={"seconds": 0.0}) for answer in answers)
    assert first == second


@pytest.mark.parametrize("seed", range(6))
def test_identical_devices_do_not_change_the_optimum(seed: int) -> None:
    problem = crowded(seed, kinds=3, each=3)
    for objective in OBJECTIVES:
        searched = solve_split(problem, objective, solver="exact")
        filled = solve_split(problem, objective, solver="subset_dp")
        assert searched.value == pytest.approx(filled.value, rel=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_four_kinds_of_eight_devices_are_no_harder_than_their_kinds(objective: Any) -> None:
    many = solve_split(crowded(5, kinds=4, each=8, units=32), objective)
    assert many.status == "optimal"
    assert many.nodes < 1_000


def test_identical_devices_are_searched_once() -> None:
    alone = solve_split(crowded(1, kinds=1, each=12), "energy", solver="exact")
    assert alone.status == "optimal"
    assert alone.nodes < 500


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_stopped_search_still_brackets_the_optimum(seed: int, objective: Any) -> None:
    problem = crowded(seed, kinds=9, each=1, units=14)
    optimum = solve_split(problem, objective, solver="exact", node_limit=None)
    assert optimum.value is not None
    stopped = solve_split(problem, objective, solver="exact", node_limit=40)
    assert stopped.bound is not None
    assert stopped.value is not None
    assert stopped.bound <= optimum.value * (1 + 1e-9)
    assert stopped.value >= optimum.value * (1 - 1e-9)
    assert stopped.gap == pytest.approx((stopped.value - stopped.bound) / stopped.value)
    rough = solve_split(problem, objective, solver="exact", gap=0.2)
    assert rough.gap is not None
    assert rough.gap <= 0.2
    assert rough.bound is not None
    assert rough.bound <= optimum.value * (1 + 1e-9)


def test_a_limit_that_leaves_nothing_known_is_an_error() -> None:
    problem = crowded(0, kinds=9, each=1, units=14)
    with pytest.raises(UnprovenError, match="raise node_limit"):
        solve_split(problem, "period", solver="exact", node_limit=0)
