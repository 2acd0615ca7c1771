"""The program that chooses who serves whom, with cuts in place of shares (Benders).

max  Σ_c v_c
s.t. Σ_p y_p = 1                                            each group
     v_c <= α + β + F_c(α, β) - Σ_p y_p h_p(α, β)           at some prices, see ``values``
     m_dc >= y_p,   Σ_d memory_d m_dc <= memory_c
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaisnet.planner.linear import LinearProgram, LinearResult
from gaisnet.planner.tradeoff.instance import FloatArray, Instance, IntArray
from gaisnet.planner.tradeoff.values import ClusterValues

__all__ = ["Routing", "RoutingPoint"]

SCALE = 1e3
"""Solvers work with absolute tolerances around 1e-6."""


@dataclass(frozen=True, kw_only=True)
class RoutingPoint:
    """How a solve ended."""

    bound: float
    """No routing has a larger value (without what fixed latencies lose); -inf: there is none."""
    nodes: int
    found: bool
    served: FloatArray
    """``[P]`` y; empty if nothing was found."""
    loss: FloatArray
    """``[P]`` by how much the bound falls at least if the pair serves; of relaxations only."""


class Routing:
    """The program of one instance, with one cut per cluster to begin with."""

    def __init__(self, instance: Instance, values: ClusterValues) -> None:
        self._instance, self._values = instance, values
        self._program = LinearProgram()
        pairs, clusters = instance.pairs, len(instance.problem.clusters)
        self._served = [self._program.variable(upper=1.0, whole=True) for _ in range(len(pairs))]
        for g in range(len(instance.problem.groups)):
            mine = np.flatnonzero(pairs.group == g).tolist()
            self._program.row([(p, 1.0) for p in mine], at_least=1.0, at_most=1.0)
        cost = -SCALE / instance.size
        self._value = [self._program.variable(cost, -math.inf) for _ in range(clusters)]
        self._of = [np.flatnonzero(pairs.cluster == c) for c in range(clusters)]
        self._add_memory()
        self.cut(np.full((clusters, 2), instance.size))

    def cut(self, price: FloatArray) -> None:
        """Bound every cluster's value at ``price`` ``[C, 2]``."""
        pairs = self._instance.pairs
        every = np.arange(len(pairs))
        served = self._values.pricing.serve(every, price[pairs.cluster]).value
        whole = price.sum(axis=1)
        whole = whole + self._values.pricing.tune(np.arange(len(price)), price).value
        for c, mine in enumerate(self._of):
            scale = 1.0 / max(self._instance.size, float(price[c].sum()))
            terms = zip(mine.tolist(), (served[mine] * scale).tolist(), strict=True)
            self._program.row([(self._value[c], scale), *terms], at_most=float(whole[c]) * scale)

    def allow(self, pairs: npt.NDArray[np.bool_]) -> None:
        """Let only these pairs serve, ``[P]`` of booleans."""
        for column, allowed in zip(self._served, pairs.tolist(), strict=True):
            self._program.bounds(column, 0.0, float(allowed))

    def forbid(self, used: IntArray) -> None:
        """Exclude one support, which no shares satisfy."""
        self._program.row([(int(p), 1.0) for p in used], at_most=len(used) - 1.0)

    def relax(self) -> RoutingPoint:
        """With y between 0 and 1."""
        return self._read(self._program.solve(relaxed=True))

    def solve(self, gap: float, nodes: int) -> RoutingPoint:
        """Branch and bound up to a relative gap or a number of nodes."""
        limit_s = self._instance.problem.time_limit_s
        return self._read(self._program.solve(gap=gap, node_limit=nodes, time_limit_s=limit_s))

    def _read(self, result: LinearResult) -> RoutingPoint:
        count, unit = len(self._served), self._instance.size / SCALE
        return RoutingPoint(
            bound=-result.bound * unit,
            nodes=result.nodes,
            found=result.found,
            served=result.values[:count],
            loss=result.column_price[:count] * unit,
        )

    def _add_memory(self) -> None:
        """Modules of a domain count once per cluster."""
        problem, pairs = self._instance.problem, self._instance.pairs
        for c, cluster in enumerate(problem.clusters):
            if cluster.memory_bytes is None:
                continue
            unit = max([cluster.memory_bytes, *problem.modules_bytes.values()]) or 1.0
            held: dict[str, int] = {}
            for p in self._of[c].tolist():
                domain = problem.groups[pairs.group[p]].domain
                size = problem.modules_bytes.get(domain, 0.0)
                if domain not in held:
                    held[domain] = self._program.variable(
                        0.0, 0.0, float(size <= cluster.memory_bytes)
                    )
                self._program.row([(held[domain], 1.0), (p, -1.0)], at_least=0.0)
            terms = [(h, problem.modules_bytes.get(d, 0.0) / unit) for d, h in held.items()]
            self._program.row(terms, at_most=cluster.memory_bytes / unit)
