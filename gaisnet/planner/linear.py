"""Linear and mixed-integer programs that grow: rows and columns are added between solves.

PuLP writes a whole model anew for every solve; here HiGHS keeps its own, with its basis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt

from gaisnet.errors import InfeasibleError
from gaisnet.planner.highs import silence_highs_banner

__all__ = ["LinearProgram", "LinearResult"]

FloatArray = npt.NDArray[np.float64]
FEASIBLE_POINT = 2
"""HiGHS's ``primal_solution_status`` of a solution."""
TOLERANCE = 1e-9
"""Of linear programs: rows of tangents are added where they are broken by more."""
INFEASIBLE = (
    highspy.HighsModelStatus.kInfeasible,
    highspy.HighsModelStatus.kUnboundedOrInfeasible,
)


@dataclass(frozen=True, kw_only=True)
class LinearResult:
    """How a solve ended."""

    found: bool
    infeasible: bool
    """Proven."""
    bound: float
    """No solution has a smaller objective, by the solver's own proof; inf if infeasible."""
    nodes: int
    values: FloatArray
    """``[columns]``; empty if nothing was found."""
    row_price: FloatArray
    """``[rows]`` objective per unit of each row's bound; of linear programs only."""
    column_price: FloatArray
    """``[columns]`` reduced costs; of linear programs only."""


class LinearProgram:
    """A minimisation on one thread with a fixed seed, so that equal programs end equally.

    Raises:
        InfeasibleError: A figure is too large for the solver, which would leave its row out.
    """

    def __init__(self) -> None:
        silence_highs_banner()
        self._solver = highspy.Highs()
        options: dict[str, Any] = {"output_flag": False, "threads": 1, "random_seed": 1}
        options |= {"parallel": "off", "primal_feasibility_tolerance": TOLERANCE}
        options |= {"dual_feasibility_tolerance": TOLERANCE}
        for name, value in options.items():
            self._solver.setOptionValue(name, value)
        self._whole: list[int] = []
        self.columns = 0
        self.rows = 0

    def variable(
        self,
        cost: float = 0.0,
        lower: float = 0.0,
        upper: float = math.inf,
        *,
        whole: bool = False,
        rows: Mapping[int, float] | None = None,
    ) -> int:
        """A new column, with its coefficients in ``rows`` that are there already."""
        at, factors = _sparse((rows or {}).items())
        _accepted(self._solver.addCol(cost, lower, upper, len(at), at, factors))
        if whole:
            self._solver.changeColIntegrality(self.columns, highspy.HighsVarType.kInteger)
            self._whole.append(self.columns)
        self.columns += 1
        return self.columns - 1

    def row(
        self,
        terms: Iterable[tuple[int, float]],
        *,
        at_least: float = -math.inf,
        at_most: float = math.inf,
    ) -> int:
        """A new row; factors of a column that stands twice are added."""
        total: dict[int, float] = {}
        for column, factor in terms:
            total[column] = total.get(column, 0.0) + factor
        at, factors = _sparse(total.items())
        _accepted(self._solver.addRow(at_least, at_most, len(at), at, factors))
        self.rows += 1
        return self.rows - 1

    def bounds(self, column: int, lower: float, upper: float) -> None:
        """Other bounds of a column."""
        self._solver.changeColBounds(column, lower, upper)

    def cost(self, column: int, cost: float) -> None:
        """Another cost of a column."""
        self._solver.changeColCost(column, cost)

    def limits(self, row: int, at_least: float, at_most: float) -> None:
        """Other bounds of a row."""
        self._solver.changeRowBounds(row, at_least, at_most)

    def solve(
        self,
        *,
        relaxed: bool = False,
        gap: float = 0.0,
        node_limit: int | None = None,
        time_limit_s: float | None = None,
        start: FloatArray | None = None,
    ) -> LinearResult:
        """Minimise.

        Args:
            relaxed: Whether whole-numbered columns may be fractional.
            gap: Relative gap at which branch and bound may end.
            node_limit: Of branch and bound.
            time_limit_s: Results may then differ from machine to machine.
            start: ``[columns]`` a solution that branch and bound begins with.
        """
        solver, whole = self._solver, bool(self._whole) and not relaxed
        solver.setOptionValue("solve_relaxation", not whole)
        solver.setOptionValue("mip_rel_gap", gap)
        solver.setOptionValue("mip_max_nodes", node_limit or 2**31 - 1)
        if time_limit_s is not None:
            solver.setOptionValue("time_limit", solver.getRunTime() + time_limit_s)
        if start is not None:
            begin = highspy.HighsSolution()
            begin.col_value = start.tolist()
            solver.setSolution(begin)
        solver.run()
        return _branched(solver) if whole else _relaxed(solver)


def _branched(solver: highspy.Highs) -> LinearResult:
    """What branch and bound came to: its bound is proven wherever it stopped; nothing is priced."""
    info, infeasible, solution = _ending(solver)
    return LinearResult(
        found=solution is not None,
        infeasible=infeasible,
        bound=math.inf if infeasible else float(info.mip_dual_bound),
        nodes=max(0, int(info.mip_node_count)),
        values=_array(solution.col_value if solution else ()),
        row_price=_array(()),
        column_price=_array(()),
    )


def _relaxed(solver: highspy.Highs) -> LinearResult:
    """What a linear program came to: its value bounds nothing before it is optimal."""
    info, infeasible, solution = _ending(solver)
    value = float(info.objective_function_value)
    optimal = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return LinearResult(
        found=solution is not None,
        infeasible=infeasible,
        bound=math.inf if infeasible else value if optimal else -math.inf,
        nodes=0,
        values=_array(solution.col_value if solution else ()),
        row_price=_array(solution.row_dual if solution else ()),
        column_price=_array(solution.col_dual if solution else ()),
    )


def _ending(
    solver: highspy.Highs,
) -> tuple[highspy.HighsInfo, bool, highspy.HighsSolution | None]:
    """Figures of the last solve, whether it proved that there is no solution, and the solution."""
    info = solver.getInfo()
    infeasible = solver.getModelStatus() in INFEASIBLE
    found = not infeasible and int(info.primal_solution_status) == FEASIBLE_POINT
    return info, infeasible, solver.getSolution() if found else None


def _array(values: Iterable[float]) -> FloatArray:
    return np.array(values, dtype=np.float64)


def _accepted(status: highspy.HighsStatus) -> None:
    if status == highspy.HighsStatus.kError:
        raise InfeasibleError(
            "figures of the problem are too many orders of magnitude apart to be solved",
            hint="look for speeds, bandwidths, rates or seconds that cannot be meant",
        )


def _sparse(terms: Iterable[tuple[int, float]]) -> tuple[npt.NDArray[np.int32], FloatArray]:
    pairs = list(terms)
    at = np.array([column for column, _ in pairs], dtype=np.int32)
    return at, np.array([factor for _, factor in pairs], dtype=np.float64)
