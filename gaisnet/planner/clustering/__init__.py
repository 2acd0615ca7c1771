"""Who is clustered with whom."""

from gaisnet.planner.clustering.problem import (
    ClusterMember,
    ClusterProblem,
    ClusterSolution,
    ClusterTerms,
)
from gaisnet.planner.clustering.solve import solve_clusters

__all__ = ["ClusterMember", "ClusterProblem", "ClusterSolution", "ClusterTerms", "solve_clusters"]
