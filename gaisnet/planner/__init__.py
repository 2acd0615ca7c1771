"""The planner: who holds what, who is clustered with whom, who serves whom, with proofs."""

from gaisnet.planner.calibration import calibrate
from gaisnet.planner.clustering import (
    ClusterMember,
    ClusterProblem,
    ClusterSolution,
    ClusterTerms,
    solve_clusters,
)
from gaisnet.planner.compose import overridden, plan, plan_inputs
from gaisnet.planner.conflict import Conflict, conflict_of, fatal_loss, with_conflict
from gaisnet.planner.cost import CostModel, compressed_bytes
from gaisnet.planner.inputs import Inputs, inputs_of, read_inputs
from gaisnet.planner.ranks import at_rank, profile_at_rank, profiled_ranks
from gaisnet.planner.robust import replan, surviving_inputs, with_fallbacks
from gaisnet.planner.splitting import (
    DeviceFigures,
    FrontPoint,
    LinkMatrices,
    PrivacyTier,
    SplitEvaluation,
    SplitFront,
    SplitProblem,
    SplitSolution,
    UnitCost,
    evaluate_split,
    solve_split,
    solve_split_front,
)
from gaisnet.planner.tradeoff import TradeoffProblem, TradeoffSolution, solve_tradeoff

__all__ = [
    "ClusterMember",
    "ClusterProblem",
    "ClusterSolution",
    "ClusterTerms",
    "Conflict",
    "CostModel",
    "DeviceFigures",
    "FrontPoint",
    "Inputs",
    "LinkMatrices",
    "PrivacyTier",
    "SplitEvaluation",
    "SplitFront",
    "SplitProblem",
    "SplitSolution",
    "TradeoffProblem",
    "TradeoffSolution",
    "UnitCost",
    "at_rank",
    "calibrate",
    "compressed_bytes",
    "conflict_of",
    "evaluate_split",
    "fatal_loss",
    "inputs_of",
    "overridden",
    "plan",
    "plan_inputs",
    "profile_at_rank",
    "profiled_ranks",
    "read_inputs",
    "replan",
    "solve_clusters",
    "solve_split",
    "solve_split_front",
    "solve_tradeoff",
    "surviving_inputs",
    "with_conflict",
    "with_fallbacks",
]
