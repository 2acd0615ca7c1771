"""Who holds what within one cluster, and what a step of it takes."""

from gaisnet.planner.chains.moving import Moving
from gaisnet.planner.chains.repaired import repaired
from gaisnet.planner.chains.split import ClusterSplit, is_splittable, split_cluster
from gaisnet.planner.chains.step import Chain, StepFigures, step_figures
from gaisnet.planner.chains.task import SplitTask, overflow, residences

__all__ = [
    "Chain",
    "ClusterSplit",
    "Moving",
    "SplitTask",
    "StepFigures",
    "is_splittable",
    "overflow",
    "repaired",
    "residences",
    "split_cluster",
    "step_figures",
]
