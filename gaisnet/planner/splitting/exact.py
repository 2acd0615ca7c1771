"""The exact search of a whole instance: every branch of a U-shape, one incumbent."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gaisnet.planner.splitting.additive import Memory, search_additive, search_period
from gaisnet.planner.splitting.ascent import improve_prices
from gaisnet.planner.splitting.budget import RELATIVE_TOLERANCE, Budget, Found
from gaisnet.planner.splitting.instance import SplitInstance
from gaisnet.planner.splitting.lagrangian import Prices, completion, no_prices
from gaisnet.planner.splitting.makespan import MakespanSearch
from gaisnet.planner.splitting.solution import Objective, Segment
from gaisnet.planner.splitting.subset_dp import SubsetProgramme
from gaisnet.planner.splitting.symmetry import Twins, interchangeable
from gaisnet.planner.splitting.tables import ChainTables, branch, head_ends

__all__ = ["search_instance"]

_ROOT_ROUNDS = 60


@dataclass(frozen=True)
class _Methods:
    """How one chain problem is solved; the two ways share everything above them."""

    twins: Twins
    budget: Budget
    gap: float
    by_subsets: bool
    memory: Memory

    def additive(
        self, tables: ChainTables, cutoff: float, prices: Prices | None, budget: Budget
    ) -> Found:
        if self.by_subsets:
            return SubsetProgramme(tables, longest_stage=False).run(cutoff)
        if prices is not None:
            self.memory.prices = prices
        return search_additive(tables, self.twins, budget, self.memory, cutoff=cutoff, gap=self.gap)

    def period(self, tables: ChainTables, cutoff: float, _: Prices | None, budget: Budget) -> Found:
        if self.by_subsets:
            return SubsetProgramme(tables, longest_stage=True).run(cutoff)
        return search_period(tables, self.twins, budget, cutoff=cutoff, gap=self.gap)


def search_instance(
    instance: SplitInstance,
    root: ChainTables,
    objective: Objective,
    budget: Budget,
    *,
    gap: float = 0.0,
    by_subsets: bool = False,
) -> Found:
    """Best chain of ``instance``, by searches or by the subset programme.

    Returns:
        A path over the instance's rows; an infinite bound means that there is none.
    """
    twins = interchangeable(root)
    prices = _root_prices(root, objective, twins)
    methods = _Methods(twins, budget, gap, by_subsets, Memory(prices))
    path: list[Segment] | None = None
    value, bound = math.inf, math.inf
    for floor, j in _ordered(instance, root, objective, prices):
        if floor >= value * (1 - max(gap, RELATIVE_TOLERANCE)) or budget.exhausted:
            bound = min(bound, floor)
            continue
        found = _search(methods, branch(instance, root, j), instance, objective, value, prices)
        if found.path is not None:
            path, value = found.path, found.value
        bound = min(bound, max(found.bound, floor))
    return Found(path, value, min(bound, value))


def _root_prices(root: ChainTables, objective: Objective, twins: Twins) -> Prices:
    if objective == "period":
        return no_prices(root)
    return improve_prices(
        root, no_prices(root), incumbent=math.inf, rounds=_ROOT_ROUNDS, twins=twins
    ).prices


def _ordered(
    instance: SplitInstance, root: ChainTables, objective: Objective, prices: Prices
) -> list[tuple[float, int | None]]:
    """Branches with a lower bound each, the most promising first."""
    floors: list[tuple[float, int | None]] = []
    for j in head_ends(instance, root):
        if objective == "period" or j is None:
            floors.append((root.floor_s if objective == "period" else 0.0, j))
        else:
            floors.append((max(completion(branch(instance, root, j), prices).bound, 0.0), j))
    return sorted(floors, key=lambda entry: (entry[0], entry[1] or 0))


def _search(
    methods: _Methods,
    tables: ChainTables,
    instance: SplitInstance,
    objective: Objective,
    cutoff: float,
    prices: Prices,
) -> Found:
    """One branch, below the incumbent of the others."""
    if objective == "period":
        return methods.period(tables, cutoff, None, methods.budget)
    if objective == "makespan" and instance.microbatches > 1:
        inner = replace(methods, gap=0.0)
        return MakespanSearch(
            tables, instance.microbatches, inner.additive, inner.period, cutoff
        ).run(methods.budget, methods.gap)
    return methods.additive(tables, cutoff, prices, methods.budget)
