"""Fractional routing as a mixed-integer program with tangents (Kelley): its bound holds for the
real problem.

    y_p in {0,1}      the pair is served
    x_p <= λ_g y_p    arrivals
    φ_p, a_c          shares, Σ φ_p + a_c <= 1 per resource
    φ_p speed_p >= x_p + θ_g y_p
    t_p >= tangents of y T(μ/y, x/y)        mean sojourn, as perspective: tight for fractional y
    Σ t_p <= slo_g y_p,   D_g >= Σ t_p of each pair
    r_c <= tangents of 1/(v/a + w/b),   u_c <= tangents of U_c
    h_dc >= y_p,   Σ_d memory_d h_dc <= memory_c

Every tangent lies on the safe side of its curve, so that no real solution is cut off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import highspy
import numpy as np
import pulp

from gaisnet.planner.highs import silence_highs_banner
from gaisnet.planner.tradeoff.instance import FloatArray, Instance, IntArray, Tuning

__all__ = ["Master", "MasterPoint"]

SCALE = 1e3
"""Solvers work with absolute tolerances around 1e-6."""
FEASIBLE_POINT = 2
"""HiGHS's ``primal_solution_status`` of a solution."""
SEEDS = (0.02, 0.1, 0.3, 0.6, 1.0)
"""Rates, relative to the full one, of a utility's first tangents."""
RATIOS = (0.1, 0.5, 1.0, 2.0, 10.0)
"""Of compute to uplink, of a rate's first tangents."""
STEPS = (1.2, 2.0, 5.0, 20.0)
"""``μ - λ`` relative to its least value, of a sojourn's first tangents."""
SMALL = 1e-9
LEAST_SHARE = 1e-4
"""At which a rate is still linearised."""
INFEASIBLE = (
    highspy.HighsModelStatus.kInfeasible,
    highspy.HighsModelStatus.kUnboundedOrInfeasible,
)


def _nothing() -> FloatArray:
    return np.zeros(0)


@dataclass(frozen=True, kw_only=True)
class MasterPoint:
    """How a solve ended."""

    bound: float
    """No solution has a larger value; -inf: there is none, proven."""
    nodes: int
    found: bool = False
    served: FloatArray = field(default_factory=_nothing)
    """``[P]`` y."""
    flow: FloatArray = field(default_factory=_nothing)
    """``[P]``"""
    share: FloatArray = field(default_factory=_nothing)
    """``[P, 2]``"""
    tuning: FloatArray = field(default_factory=_nothing)
    """``[C, 2]``"""


class Master:
    """The program of one instance, which has at least one pair or one fine-tuning."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._model = pulp.LpProblem("tradeoff", pulp.LpMinimize)
        self._cost: list[tuple[Any, float]] = []
        self._add_pairs()
        self._add_groups()
        self._add_memory()
        self._add_clusters()
        self._model.setObjective(pulp.LpAffineExpression(self._cost))

    def solve(
        self, *, relaxed: bool = False, gap: float = 0.0, fixed: FloatArray | None = None
    ) -> MasterPoint:
        """Run HiGHS on one thread with a fixed seed.

        PuLP's own ``solve`` has no word for HiGHS's node limit, and says "Optimal" after others.

        Args:
            relaxed: Whether y may be fractional.
            gap: Relative gap at which branch and bound may end.
            fixed: ``[P]`` values of y, NaN where it is free. The bound then holds for them only.
        """
        self._fix(fixed)
        silence_highs_banner()
        limits = self._instance.problem
        highs = pulp.HiGHS(
            msg=False,
            mip=not relaxed,
            threads=1,
            gapRel=gap,
            timeLimit=limits.time_limit_s,
            random_seed=1,
            mip_max_nodes=limits.node_limit,
        )
        highs.createAndConfigureSolver(self._model)
        highs.buildSolverModel(self._model)
        highs.callSolver(self._model)
        return self._read(self._model.solverModel, relaxed)

    def cut_at(self, flow: FloatArray, share: FloatArray, tuning: FloatArray) -> None:
        """Add the tangents at a point: ``[P]``, ``[P, 2]`` and ``[C, 2]``, given y = 1."""
        for p, queue in self._sojourn:
            spare = share[p, queue] * self._instance.pairs.speed[p, queue] - flow[p]
            if spare > SMALL:
                self._cut_sojourn(p, queue, float(spare), float(flow[p]))
        for load in self._instance.tuning:
            a, b = (max(float(value), LEAST_SHARE) for value in tuning[load.cluster])
            self._cut_rate(load, a, b)
            self._cut_utility(load, min(_rate(load, a, b), 1.0))

    def forbid(self, used: IntArray) -> None:
        """Exclude one support, which no shares satisfy."""
        chosen = set(used.tolist())
        terms = [(y, -1.0 if p in chosen else 1.0) for p, y in enumerate(self._served)]
        self._row(terms, at_least=1.0 - len(chosen))

    def _row(self, terms: Iterable[tuple[Any, float]], *, at_least: float) -> None:
        self._model += pulp.LpAffineExpression(list(terms)) >= at_least

    def _variable(self, name: str, upper: float | None = None, *, whole: bool = False) -> Any:
        kind = pulp.LpInteger if whole else pulp.LpContinuous
        return self._model.add_variable(name, 0.0, upper, cat=kind)

    def _add_pairs(self) -> None:
        """Variables and queues of all pairs."""
        pairs = self._instance.pairs
        count = range(len(pairs))
        self._served = [self._variable(f"y_{p}", 1.0, whole=True) for p in count]
        self._part = [self._variable(f"x_{p}", 1.0) for p in count]
        self._share = [[self._variable(f"s_{p}_{q}", 1.0) for q in range(2)] for p in count]
        self._sojourn: dict[tuple[int, int], Any] = {}
        for p in count:
            self._row([(self._served[p], 1.0), (self._part[p], -1.0)], at_least=0.0)
            for q in range(2):
                self._add_queue(p, q)
            times = [(self._sojourn[p, q], -1.0) for q in range(2) if (p, q) in self._sojourn]
            if math.isfinite(pairs.limit[p]):
                self._row([(self._served[p], float(pairs.limit[p])), *times], at_least=0.0)

    def _add_queue(self, p: int, queue: int) -> None:
        pairs = self._instance.pairs
        speed, arrivals = float(pairs.speed[p, queue]), float(pairs.arrivals[p])
        if not math.isfinite(speed):
            return
        timed = math.isfinite(pairs.limit[p]) or self._instance.weight[pairs.group[p]] > 0.0
        least = float(max(pairs.margin[p], pairs.near[p] / pairs.limit[p]))
        terms = [(self._share[p][queue], 1.0), (self._served[p], -least / speed)]
        self._row([*terms, (self._part[p], -arrivals / speed)], at_least=0.0)
        self._row([(self._served[p], 1.0), (self._share[p][queue], -1.0)], at_least=0.0)
        if timed:
            self._sojourn[p, queue] = self._variable(f"t_{p}_{queue}")
            start = max(least, 0.01 * speed)
            for step in STEPS:
                self._cut_sojourn(p, queue, start * step, arrivals)

    def _cut_sojourn(self, p: int, queue: int, spare: float, flow: float) -> None:
        """Tangent of ``y² p / (μ - x) + y² q / μ`` at y = 1; it has no constant term."""
        pairs = self._instance.pairs
        near, far = float(pairs.near[p]), float(pairs.far[p])
        speed, full = float(pairs.speed[p, queue]), spare + flow
        by_share = -(near / spare**2 + far / full**2) * speed
        by_flow = near / spare**2 * float(pairs.arrivals[p])
        by_served = 2.0 * (near / spare + far / full)
        scale = min(1.0, spare)
        self._row(
            [
                (self._sojourn[p, queue], scale),
                (self._share[p][queue], -by_share * scale),
                (self._part[p], -by_flow * scale),
                (self._served[p], -by_served * scale),
            ],
            at_least=0.0,
        )

    def _add_groups(self) -> None:
        """Everybody is served, and what their waiting costs."""
        instance, pairs = self._instance, self._instance.pairs
        for g in range(len(instance.problem.groups)):
            mine = np.flatnonzero(pairs.group == g).tolist()
            total = [(self._part[p], 1.0) for p in mine]
            self._model += pulp.LpAffineExpression(total) == 1.0
            if instance.weight[g] == 0.0:
                continue
            slowest = self._variable(f"d_{g}")
            self._cost.append((slowest, float(instance.weight[g]) / instance.size * SCALE))
            for p in mine:
                times = [(self._sojourn[p, q], -1.0) for q in range(2) if (p, q) in self._sojourn]
                self._row([(slowest, 1.0), *times], at_least=0.0)

    def _add_memory(self) -> None:
        """Modules of a domain count once per cluster."""
        problem, pairs = self._instance.problem, self._instance.pairs
        for c, cluster in enumerate(problem.clusters):
            if cluster.memory_bytes is None:
                continue
            unit = max([cluster.memory_bytes, *problem.modules_bytes.values()]) or 1.0
            held: dict[str, Any] = {}
            for p in np.flatnonzero(pairs.cluster == c).tolist():
                domain = problem.groups[pairs.group[p]].domain
                if problem.modules_bytes.get(domain, 0.0) > cluster.memory_bytes:
                    self._row([(self._served[p], -1.0)], at_least=0.0)
                    continue
                if domain not in held:
                    held[domain] = self._variable(f"h_{c}_{len(held)}", 1.0)
                self._row([(held[domain], 1.0), (self._served[p], -1.0)], at_least=0.0)
            terms = [(h, -problem.modules_bytes.get(d, 0.0) / unit) for d, h in held.items()]
            self._row(terms, at_least=-cluster.memory_bytes / unit)

    def _add_clusters(self) -> None:
        """Shares add up, and what fine-tuning makes of its own."""
        clusters = range(len(self._instance.problem.clusters))
        self._tuning = [[self._variable(f"a_{c}_{q}", 1.0) for q in range(2)] for c in clusters]
        for c in clusters:
            mine = np.flatnonzero(self._instance.pairs.cluster == c).tolist()
            for q in range(2):
                terms = [(self._share[p][q], -1.0) for p in mine]
                self._row([*terms, (self._tuning[c][q], -1.0)], at_least=-1.0)
        self._rate: dict[int, Any] = {}
        self._worth: dict[int, Any] = {}
        for load in self._instance.tuning:
            self._add_tuning(load)

    def _add_tuning(self, load: Tuning) -> None:
        self._rate[load.cluster] = self._variable(f"r_{load.cluster}", 1.0)
        self._worth[load.cluster] = worth = self._variable(f"u_{load.cluster}", 1.0)
        self._cost.append((worth, -load.utility / self._instance.size * SCALE))
        for ratio in RATIOS:
            self._cut_rate(load, ratio / (1.0 + ratio), 1.0 / (1.0 + ratio))
        for rate in SEEDS:
            self._cut_utility(load, rate)

    def _cut_rate(self, load: Tuning, a: float, b: float) -> None:
        """Tangent of the harmonic mean, or both bounds of the overlapped rate."""
        rate, shares = self._rate[load.cluster], self._tuning[load.cluster]
        if load.overlapped:
            for share, part in zip(shares, load.parts, strict=True):
                if part > 0.0:
                    self._row([(share, 1.0), (rate, -part)], at_least=0.0)
            return
        value = _rate(load, a, b)
        terms = [
            (share, part * (value / at) ** 2)
            for share, part, at in zip(shares, load.parts, (a, b), strict=True)
            if part > 0.0
        ]
        self._row([*terms, (rate, -1.0)], at_least=0.0)

    def _cut_utility(self, load: Tuning, rate: float) -> None:
        if load.utility == 0.0:
            return
        value, slope = (part / load.utility for part in load.worth(rate))
        scale = 1.0 / max(1.0, slope)
        terms = [(self._rate[load.cluster], slope * scale), (self._worth[load.cluster], -scale)]
        self._row(terms, at_least=(slope * rate - value) * scale)

    def _fix(self, fixed: FloatArray | None) -> None:
        values = np.full(len(self._served), np.nan) if fixed is None else fixed
        for y, value in zip(self._served, values.tolist(), strict=True):
            y.lowBound, y.upBound = (0.0, 1.0) if math.isnan(value) else (value, value)

    def _read(self, solver: Any, relaxed: bool) -> MasterPoint:
        """From HiGHS's own information."""
        info, status = solver.getInfo(), solver.getModelStatus()
        found = int(info.primal_solution_status) == FEASIBLE_POINT
        dual = float(info.objective_function_value if relaxed else info.mip_dual_bound)
        bound = math.inf
        if status in INFEASIBLE:
            bound, found = -math.inf, False
        elif math.isfinite(dual) and (not relaxed or status == highspy.HighsModelStatus.kOptimal):
            bound = -dual / SCALE * self._instance.size - self._instance.lost
        if not found:
            return MasterPoint(bound=bound, nodes=max(0, int(info.mip_node_count)))
        values = np.array(solver.getSolution().col_value, dtype=np.float64)

        def column(variables: Iterable[Any]) -> FloatArray:
            picked: FloatArray = values[[variable.index for variable in variables]]
            return picked

        return MasterPoint(
            served=column(self._served),
            flow=column(self._part) * self._instance.pairs.arrivals,
            share=column(s for row in self._share for s in row).reshape(-1, 2),
            tuning=column(a for row in self._tuning for a in row).reshape(-1, 2),
            bound=bound,
            nodes=max(0, int(info.mip_node_count)),
            found=True,
        )


def _rate(load: Tuning, a: float, b: float) -> float:
    times = [part / share for part, share in zip(load.parts, (a, b), strict=True) if part > 0.0]
    return 1.0 / (max(times) if load.overlapped else sum(times))
