"""What fine-tuning and inference get of compute and links, and which cluster serves whom."""

from gaisnet.planner.tradeoff.problem import (
    FineTuningLoad,
    TradeoffCluster,
    TradeoffProblem,
    UserGroup,
)
from gaisnet.planner.tradeoff.solution import (
    ClusterShares,
    GroupRoute,
    LooserSlo,
    TradeoffSolution,
)
from gaisnet.planner.tradeoff.solve import solve_tradeoff

__all__ = [
    "ClusterShares",
    "FineTuningLoad",
    "GroupRoute",
    "LooserSlo",
    "TradeoffCluster",
    "TradeoffProblem",
    "TradeoffSolution",
    "UserGroup",
    "solve_tradeoff",
]
