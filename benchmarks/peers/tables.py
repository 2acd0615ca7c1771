"""The problem's own costs as arrays, for the rules that optimise over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaisnet.planner import SplitProblem
from gaisnet.planner.splitting.instance import translate
from gaisnet.planner.splitting.solution import Objective
from gaisnet.planner.splitting.tables import chain_tables


@dataclass(frozen=True)
class Costs:
    """Of segments ``[N, L, L]`` and cuts ``[N, N, L-1]``; infinite where there is no memory or
    link."""

    segment: npt.NDArray[np.float64]
    cut: npt.NDArray[np.float64]


def tables_of(problem: SplitProblem, objective: Objective) -> tuple[Costs, np.ufunc]:
    """Costs, and how they join: sums for latency and energy, maxima for the period. For the
    makespan, which is neither, the latency counts."""
    tables = chain_tables(translate(problem), objective)
    if objective == "period":
        return Costs(tables.segment_stage, tables.cut_stage), np.maximum
    return Costs(tables.segment_cost, tables.cut_cost), np.add
