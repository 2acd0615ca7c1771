"""The planner's public names."""

from gaisnet.planner.splitting import (
    SplitEvaluation,
    SplitProblem,
    SplitSolution,
    evaluate_split,
    solve_split,
)

__all__ = [
    "SplitEvaluation",
    "SplitProblem",
    "SplitSolution",
    "evaluate_split",
    "solve_split",
]
