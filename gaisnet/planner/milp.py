"""One call to HiGHS through PuLP, wary of what both are known to get wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pulp

__all__ = ["MilpOutcome", "run_highs"]


@dataclass(frozen=True, kw_only=True)
class MilpOutcome:
    """How a solve ended; the values are in the problem's variables."""

    found: bool
    """Whether the variables hold a solution."""
    bound: float
    """The solver's own proven bound on the objective; -inf if it has none."""
    nodes: int


def run_highs(
    problem: pulp.LpProblem, *, node_limit: int | None = None, time_limit_s: float | None = None
) -> MilpOutcome:
    """Minimise on one thread with a fixed seed, so that equal problems end equally.

    PuLP reports "Optimal" after a limit as well, so its ``status`` is not read: ``sol_status``
    says whether there is a solution, and HiGHS's dual bound how good it is.
    """
    import pulp

    from gaisnet.planner.highs import highs

    limits = {} if node_limit is None else {"mip_max_nodes": node_limit}
    problem.solve(highs(timeLimit=time_limit_s, gapRel=0.0, random_seed=1, **limits))
    known = (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
    found = problem.sol_status in known and all(
        variable.varValue is not None for variable in problem.variables()
    )
    if not problem.isMIP():
        value = float(pulp.value(problem.objective)) if found else -math.inf
        return MilpOutcome(found=found, bound=value, nodes=0)
    info = problem.solverModel.getInfo()
    bound = float(info.mip_dual_bound)
    return MilpOutcome(
        found=found,
        bound=bound if math.isfinite(bound) else -math.inf,
        nodes=max(0, int(info.mip_node_count)),
    )
