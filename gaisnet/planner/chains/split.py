"""The split of one cluster: how deep head and tail are, and who holds the body between them.

Head depth h and tail start t are enumerated in the order of a lower bound; between them an exact
search places the body. Costs of entering and leaving the body are averaged over the owners'
turns: latency and energy are linear in them, period and makespan convex, so that by Jensen's
inequality the search bounds the mean over turns from below. Each chain that it finds is then
evaluated exactly, turn by turn; where that leaves a gap, an exact search of its own closes it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gaisnet.errors import UnprovenError
from gaisnet.planner.chains.body import Body
from gaisnet.planner.chains.depths import depth_bounds
from gaisnet.planner.chains.refine import Refinement
from gaisnet.planner.chains.step import Chain, StepFigures, step_figures
from gaisnet.planner.chains.tables import make_body
from gaisnet.planner.chains.task import SplitTask, overflow
from gaisnet.planner.cost import CostModel
from gaisnet.planner.splitting import SplitSolution, solve_instance

__all__ = ["ClusterSplit", "is_splittable", "split_cluster"]

RELATIVE_TOLERANCE = 1e-9
ANY_GAP = 1e9
"""Ends the enumeration of depths at the first split."""
REFINING_NODES = 30_000
"""Of the exact search at one depth."""
WARM_NODES = 500
"""Of the exact search at one depth before all others, where a good chain is known already."""
LEAST_NODES = 1000
"""Of an inner search, so that the last depths are not cut off at once."""


@dataclass(frozen=True, kw_only=True)
class ClusterSplit:
    """A cluster's chain, its figures and how far from the best it may be."""

    task: SplitTask
    chain: Chain
    figures: StepFigures
    value: float
    bound: float
    nodes: int
    solver: str

    @property
    def gap(self) -> float:
        """``(value - bound) / value``."""
        return max(0.0, (self.value - self.bound) / self.value) if self.value > 0.0 else 0.0


@dataclass(kw_only=True)
class _Best:
    """The best chain so far, and the least bound among what was settled."""

    chain: Chain | None = None
    value: float = math.inf
    settled: float = math.inf
    nodes: int = 0
    warm: bool = False
    """Whether the search began with a chain."""
    solver: str = "enumeration of head and tail"

    def offer(self, cost: CostModel, task: SplitTask, chain: Chain) -> None:
        value = task.value(cost, chain)
        if value < self.value and task.allows(cost, chain):
            self.chain, self.value = chain, value


def split_cluster(
    cost: CostModel, task: SplitTask, known: Iterable[Chain] = ()
) -> ClusterSplit | None:
    """The best split of a cluster, with a proven bound; None if no split is allowed.

    Stops once no depth that is left can improve the best by more than ``task.search.gap``, or
    after ``task.search.node_limit`` nodes of the inner searches.

    Args:
        cost: Figures of model and fleet.
        task: The cluster.
        known: Chains that satisfy its rules, to start from.
    """
    body = make_body(cost, task)
    best, unsettled = _Best(), math.inf
    for chain in known:
        best.offer(cost, task, chain)
    best.warm = best.chain is not None
    for bound, head, tail in depth_bounds(cost, body):
        spent = best.chain is not None and best.nodes >= task.search.node_limit
        if spent or not _may_improve(bound, best, task):
            unsettled = bound
            break
        _settle(cost, body, (head, tail), bound, best)
    if best.chain is None:
        return None
    return ClusterSplit(
        task=task,
        chain=best.chain,
        figures=step_figures(cost, best.chain, task.speed),
        value=best.value,
        bound=min(best.value, best.settled, unsettled),
        nodes=best.nodes,
        solver=best.solver,
    )


def is_splittable(cost: CostModel, task: SplitTask) -> bool:
    """Whether the cluster has any split: stops at the first."""
    eased = task.search.model_copy(update={"gap": ANY_GAP, "node_limit": LEAST_NODES})
    return split_cluster(cost, replace(task, objective="latency", search=eased)) is not None


def _settle(cost: CostModel, body: Body, ends: tuple[int, int], bound: float, best: _Best) -> None:
    """Solve one depth: offer its best chain, and note its bound."""
    task = body.task
    if ends[0] == ends[1]:
        whole = task.chain(*ends, ())
        if task.allows(cost, whole):
            best.offer(cost, task, whole)
            best.settled = min(best.settled, bound)
        return
    if best.warm:
        proven = max(bound, _offer_refined(cost, body, ends, best, WARM_NODES))
        if not _may_improve(proven, best, task):
            best.settled = min(best.settled, proven)
            return
    proven = max(bound, _offer_searched(cost, body, ends, best))
    if _may_improve(proven, best, task):
        proven = max(proven, _offer_refined(cost, body, ends, best))
    best.settled = min(best.settled, proven)


def _may_improve(bound: float, best: _Best, task: SplitTask) -> bool:
    """Whether chains of this bound could be better than the best, by more than the tolerance."""
    if best.chain is None:
        return math.isfinite(bound)
    return bound < best.value * (1.0 - _tolerance(task))


def _tolerance(task: SplitTask) -> float:
    """Half of the gap that is asked for: rounding must not make the proven one larger."""
    return max(task.search.gap / 2.0, RELATIVE_TOLERANCE)


def _offer_searched(cost: CostModel, body: Body, ends: tuple[int, int], best: _Best) -> float:
    """Offers what the array search finds; returns its bound on all chains of this depth."""
    task, proven = body.task, 0.0
    for roomy in (True, False):
        solution = _search(body, ends, roomy, task.search.node_limit - best.nodes)
        if solution is None:
            return proven
        best.nodes += solution.nodes
        proven = _proven(body, ends, solution) if roomy else proven
        if solution.value is None:
            return proven
        best.solver = f"enumeration of head and tail, {solution.solver}"
        chain = task.chain(*ends, _stages(body, ends[0], solution.segments))
        if not overflow(cost, task, chain):
            best.offer(cost, task, chain)
            return proven
    return proven


def _offer_refined(
    cost: CostModel, body: Body, ends: tuple[int, int], best: _Best, most: int = REFINING_NODES
) -> float:
    """Offers what the exact search finds below the best; returns its bound, 0 if it gave up."""
    task = body.task
    nodes = min(most, task.search.node_limit - best.nodes)
    found = Refinement(body=body, ends=ends, value=best.value, node_limit=max(0, nodes)).run()
    best.nodes += found.nodes
    if found.path is not None:
        best.solver = "enumeration of head and tail, depth-first branch and bound"
        best.offer(cost, task, task.chain(*ends, _stages(body, ends[0], found.path)))
    if not found.complete:
        return 0.0
    return math.inf if best.chain is None else best.value * (1.0 - _tolerance(task))


def _search(body: Body, ends: tuple[int, int], roomy: bool, nodes: int) -> SplitSolution | None:
    """The exact search between two ends; None if its limits ran out before it found a chain."""
    task = body.task
    objective = task.objective
    if objective == "makespan" and not _pipelined(task):
        objective = "latency"
    instance = body.instance(*ends, roomy=roomy, pipelined=_pipelined(task))
    try:
        return solve_instance(
            instance,
            objective,
            node_limit=max(LEAST_NODES, nodes),
            time_limit_s=task.search.time_limit_s,
            gap=min(task.search.gap, 1.0),
        )
    except UnprovenError:
        return None


def _pipelined(task: SplitTask) -> bool:
    """Whether the longest stage counts in the objective."""
    return task.objective == "period" or (task.objective == "makespan" and task.microbatches > 1)


def _proven(body: Body, ends: tuple[int, int], solution: SplitSolution) -> float:
    """The inner search's bound as a bound of the cluster's objective: sums over turns."""
    task = body.task
    if solution.bound is None:
        return math.inf
    per_turn = solution.bound
    if task.objective == "makespan" and _pipelined(task):
        per_turn += body.slack_s(*ends)
    if task.objective == "energy":
        per_turn *= task.microbatches
    apart = float(body.least_moving()[ends]) if _pipelined(task) else body.ends_moving(*ends)
    return task.turns * per_turn + apart


def _stages(
    body: Body, head: int, segments: Iterable[tuple[int, int, int]]
) -> tuple[tuple[str, int, int], ...]:
    """Rows and units of an inner search as devices and units of the model."""
    return tuple((body.holders[row], head + first, head + last) for row, first, last in segments)
