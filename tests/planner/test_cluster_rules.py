"""Side constraints of a cluster's split against the enumeration of every chain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner.chains.rules import NO_RULES, TaskRules, broken
from gaisnet.planner.chains.split import split_cluster
from gaisnet.planner.chains.step import StepFigures, step_figures
from gaisnet.planner.chains.task import SplitTask, overflow
from gaisnet.planner.cost import CostModel
from tests.planner.test_cluster_split import chains, tasks


def feasible(cost: CostModel, task: SplitTask) -> list[tuple[float, StepFigures]]:
    """Value and figures of every chain that fits, is linked and obeys the task's rules."""
    found = []
    for chain in chains(cost.n_units, task):
        figures = step_figures(cost, chain, task.speed)
        fine = np.isfinite(figures.latency_s) and not overflow(cost, task, chain)
        if fine and not list(broken(task.rules, task.holders, chain, figures)):
            found.append((task.value(cost, chain), figures))
    return found


@st.composite
def ruled_tasks(draw: st.DrawFn) -> tuple[CostModel, SplitTask]:
    cost, task = draw(tasks())
    holders, units = st.sampled_from(task.holders), st.integers(0, cost.n_units - 1)
    sets = st.frozensets(holders, min_size=1, max_size=2)
    chosen: dict[str, object] = {
        "leaking": dict.fromkeys(draw(st.sets(units, max_size=cost.n_units)), 0.5),
        "forced": draw(st.frozensets(holders, max_size=1)),
        "together": (draw(sets),),
        "apart": (draw(sets),),
        "colocated_units": (tuple(sorted(draw(st.sets(units, min_size=1, max_size=2)))),),
        "barred_units": {draw(holders): draw(st.integers(1, cost.n_units))},
    }
    kept = draw(st.sets(st.sampled_from(sorted(chosen)), max_size=2))
    rules = TaskRules(
        untrusted=draw(st.frozensets(holders)),
        price_per_s={name: draw(st.sampled_from([0.0, 1.0, 5.0])) for name in task.limit_bytes},
        **{name: chosen[name] for name in kept},  # type: ignore[arg-type]
    )
    task = replace(task, rules=rules)
    budget = draw(st.sampled_from([None, "energy_budget_j", "cost_budget"]))
    spent = [
        figures.energy_j if budget == "energy_budget_j" else rules.cost(figures.busy_s)
        for _, figures in feasible(cost, task)
    ]
    if budget and spent:
        limit = draw(st.sampled_from(sorted(set(spent))[:4]))
        task = replace(task, rules=replace(rules, **{budget: limit}))
    return cost, task


@settings(max_examples=150, deadline=None)
@given(case=ruled_tasks())
def test_a_split_under_rules_is_the_best_that_obeys_them(
    case: tuple[CostModel, SplitTask],
) -> None:
    cost, task = case
    values = [value for value, _ in feasible(cost, task)]
    split = split_cluster(cost, task)
    if split is None:
        assert values == []
        return
    assert not list(broken(task.rules, task.holders, split.chain, split.figures))
    assert split.value == pytest.approx(min(values), rel=2e-6)
    assert split.bound <= min(values) * (1 + 1e-6)
    assert split.gap <= 2e-6


@settings(max_examples=30, deadline=None)
@given(case=tasks())
def test_no_rules_are_rules_that_everything_obeys(case: tuple[CostModel, SplitTask]) -> None:
    cost, task = case
    for chain in chains(cost.n_units, task):
        figures = step_figures(cost, chain, task.speed)
        assert list(broken(NO_RULES, task.holders, chain, figures)) == []
