"""Exact model splitting: who holds which consecutive units, with a proven bound."""

from gaisnet.planner.splitting.evaluate import evaluate_split
from gaisnet.planner.splitting.front import FrontPoint, SplitFront, solve_split_front
from gaisnet.planner.splitting.instance import SplitInstance
from gaisnet.planner.splitting.problem import (
    DeviceFigures,
    LinkMatrices,
    PrivacyTier,
    SplitProblem,
    UnitCost,
)
from gaisnet.planner.splitting.solution import SplitEvaluation, SplitSolution
from gaisnet.planner.splitting.solve import solve_instance, solve_split

__all__ = [
    "DeviceFigures",
    "FrontPoint",
    "LinkMatrices",
    "PrivacyTier",
    "SplitEvaluation",
    "SplitFront",
    "SplitInstance",
    "SplitProblem",
    "SplitSolution",
    "UnitCost",
    "evaluate_split",
    "solve_instance",
    "solve_split",
    "solve_split_front",
]
