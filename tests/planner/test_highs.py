"""HiGHS behind PuLP: limits that are hit give what there is, and a bound that holds."""

from __future__ import annotations

import random

import pulp
import pytest

from gaisnet.errors import InfeasibleError
from gaisnet.planner.highs import highs
from gaisnet.planner.linear import LinearProgram


def knapsacks(items: int, rows: int) -> pulp.LpProblem:
    """Many tight knapsacks over the same items: branching is needed."""
    draw = random.Random(0)
    problem = pulp.LpProblem("knapsacks", pulp.LpMinimize)
    taken = [problem.add_variable(f"x{i}", 0, 1, pulp.LpBinary) for i in range(items)]
    problem += pulp.lpSum(-draw.randint(50, 150) * x for x in taken)
    for _ in range(rows):
        problem += pulp.lpSum(draw.randint(10, 99) * x for x in taken) <= 12 * items
    return problem


def solved(**limits: int) -> tuple[pulp.LpProblem, float, int]:
    """The problem as HiGHS left it, HiGHS's own bound, and its nodes."""
    problem = knapsacks(40, 12)
    problem.solve(highs(gapRel=0.0, random_seed=1, **limits))
    info = problem.solverModel.getInfo()
    return problem, float(info.mip_dual_bound), int(info.mip_node_count)


@pytest.fixture(scope="module")
def optimum() -> float:
    problem, bound, nodes = solved()
    value = float(pulp.value(problem.objective))
    assert bound == pytest.approx(value)
    assert nodes > 50, "an easy problem would not reach a limit"
    return value


@pytest.mark.parametrize("node_limit", [1, 3])
def test_a_node_limit_that_is_hit_leaves_a_bound_that_holds(
    node_limit: int, optimum: float
) -> None:
    problem, bound, _ = solved(mip_max_nodes=node_limit)
    assert bound <= optimum + 1e-6
    if problem.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        assert float(pulp.value(problem.objective)) >= optimum - 1e-6
        chosen = {x.name: x.varValue for x in problem.variables()}
        assert all(row.valid(1e-6) for row in problem.constraints()), chosen


def test_a_row_that_the_solver_would_leave_out_is_refused() -> None:
    program = LinearProgram()
    column = program.variable()
    with pytest.raises(InfeasibleError, match="orders of magnitude"):
        program.row([(column, 1e20)], at_least=1.0)
    with pytest.raises(InfeasibleError, match="orders of magnitude"):
        program.variable(rows={program.row([(column, 1.0)]): 1e20})
