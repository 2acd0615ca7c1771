"""The convex program: best shares once it is known which cluster serves which group.

    max  Σ_c U_c(r_c) - Σ_g w_g D_g
    s.t. Σ_p φ_p + a_c <= 1                      each resource of each cluster
         Σ_p x_p = λ_g                           (fractional routing; else x is given)
         μ_p - x_p >= θ_g                        percentile, with μ_p = φ_p · speed_p
         Σ p/(μ_p - x_p) + q/μ_p <= D_g, slo_g   mean
         r <= 1 / (v/a + w/b)                    or r <= a/v, r <= b/w

The harmonic mean is written ``P - P² / (P + Q)`` with P = a/v and Q = b/w, the utility
``1 - exp(-γ log(1 + k r))``: both are concave by the rules of disciplined convex programming.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import cvxpy as cp
import numpy as np

from gaisnet.planner.tradeoff.instance import FloatArray, Instance, IntArray, Pairs, Tuning

__all__ = ["Outcome", "Shares", "solve_shares"]

TOLERANCE = 1e-6
"""Of constraints, all scaled to about 1."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Best shares of one support; scaled as the instance is."""

    used: IntArray
    """``[U]`` pairs that are served."""
    share: FloatArray
    """``[U, 2]``"""
    flow: FloatArray
    """``[U]`` arrivals."""
    tuning: FloatArray
    """``[C, 2]`` shares of fine-tuning."""
    price: FloatArray
    """``[C, 2]`` objective per further share."""
    value: float
    """Of the problem, fixed latencies included."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the convex program ended."""

    shares: Shares | None = None
    proven: bool = False
    """Whether the solver vouches for it."""


@dataclass(kw_only=True)
class _Program:
    share: Any
    flow: Any
    tuning: Any
    objective: Any
    constraints: list[Any] = field(default_factory=list)
    capacity: list[Any] = field(default_factory=list)


def solve_shares(instance: Instance, used: IntArray) -> Outcome:
    """Shares (and, if fractional, rates) that are best where exactly ``used`` pairs may serve.

    Returns:
        Without ``shares`` there are none that satisfy all constraints, if ``proven``.
    """
    pairs = instance.pairs.pick(used)
    program = _program(instance, pairs)
    problem = cp.Problem(cp.Maximize(program.objective), program.constraints + program.capacity)
    assert problem.is_dcp()
    if not _run(problem):
        return Outcome(proven=problem.status == cp.INFEASIBLE)
    clusters = len(instance.problem.clusters)
    duals = [constraint.dual_value for constraint in program.capacity]
    price = np.array(duals, dtype=np.float64).T.reshape(clusters, 2)
    shares = Shares(
        used=used,
        share=np.maximum(_value(program.share, (len(pairs), 2)), 0.0),
        flow=_value(program.flow, (len(pairs),)),
        tuning=np.clip(_value(program.tuning, (clusters, 2)), 0.0, 1.0),
        price=np.maximum(price, 0.0) * instance.size,
        value=float(problem.value) * instance.size - instance.lost,
    )
    return Outcome(shares=shares, proven=problem.status == cp.OPTIMAL)


def _run(problem: Any) -> bool:
    """Whether the variables hold a solution; what the solver calls inaccurate is looked at."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Solution may be inaccurate")
            problem.solve(solver=cp.CLARABEL)
    except cp.SolverError:
        return False
    if problem.status == cp.OPTIMAL_INACCURATE:
        broken = [float(np.max(row.violation(), initial=0.0)) for row in problem.constraints]
        return max(broken) <= TOLERANCE
    return bool(problem.status == cp.OPTIMAL)


def _value(expression: Any, shape: tuple[int, ...]) -> FloatArray:
    raw = expression.value if hasattr(expression, "value") else expression
    return np.asarray(raw, dtype=np.float64).reshape(shape)


def _program(instance: Instance, pairs: Pairs) -> _Program:
    clusters = len(instance.problem.clusters)
    tuning = cp.Variable((clusters, 2), nonneg=True)
    program = _Program(
        share=cp.Variable((len(pairs), 2), nonneg=True) if len(pairs) else np.zeros((0, 2)),
        flow=pairs.arrivals,
        tuning=tuning,
        objective=cp.Constant(0.0),
    )
    if len(pairs):
        if not instance.single:
            _split(program, pairs)
        _serve(program, instance, pairs)
    for load in instance.tuning:
        _tune(program, load, instance.size)
    at = (pairs.cluster[None, :] == np.arange(clusters)[:, None]).astype(np.float64)
    for queue in range(2):
        total = tuning[:, queue]
        if len(pairs):
            total = total + at @ program.share[:, queue]
        program.capacity.append(total <= 1.0)
    return program


def _split(program: _Program, pairs: Pairs) -> None:
    """Rates become variables, as parts of each group's rate."""
    part = cp.Variable(len(pairs), nonneg=True)
    program.flow = cp.multiply(pairs.arrivals, part)
    for g in np.unique(pairs.group):
        program.constraints.append(cp.sum(part[np.flatnonzero(pairs.group == g)]) == 1.0)


def _serve(program: _Program, instance: Instance, pairs: Pairs) -> None:
    """Both queues of each pair, percentiles, mean SLOs and the cost of delay."""
    delay: Any = np.zeros(len(pairs))
    timed = np.isfinite(pairs.limit) | (instance.weight[pairs.group] > 0.0)
    for queue in range(2):
        has = np.flatnonzero(np.isfinite(pairs.speed[:, queue]))
        if len(has) == 0:
            continue
        speed = cp.multiply(pairs.speed[has, queue], program.share[has, queue])
        spare = speed - program.flow[has]
        program.constraints.append(spare >= pairs.margin[has])
        late = np.flatnonzero(timed[has])
        if len(late):
            terms = cp.multiply(pairs.near[has[late]], cp.inv_pos(spare[late]))
            terms += cp.multiply(pairs.far[has[late]], cp.inv_pos(speed[late]))
            place = np.zeros((len(pairs), len(late)))
            place[has[late], np.arange(len(late))] = 1.0
            delay = delay + place @ terms
    bounded = np.flatnonzero(np.isfinite(pairs.limit))
    if len(bounded):
        program.constraints.append(delay[bounded] <= pairs.limit[bounded])
    weighed = np.flatnonzero(instance.weight[pairs.group] > 0.0)
    if len(weighed):
        slowest = cp.Variable(len(instance.weight), nonneg=True)
        program.constraints.append(delay[weighed] <= slowest[pairs.group[weighed]])
        program.objective -= (instance.weight / instance.size) @ slowest


def _tune(program: _Program, load: Tuning, size: float) -> None:
    """Rate and utility of one cluster's fine-tuning."""
    rate = cp.Variable(nonneg=True)
    needed = [q for q in range(2) if load.parts[q] > 0.0]
    terms = [program.tuning[load.cluster, q] / load.parts[q] for q in needed]
    if load.overlapped or len(terms) == 1:
        program.constraints += [rate <= term for term in terms]
    else:
        first, second = terms
        harmonic = first - cp.quad_over_lin(first, first + second)
        program.constraints.append(rate <= harmonic)
    lost = cp.exp(-load.gamma * cp.log(1.0 + load.rounds * rate))
    program.objective += load.utility / size * (1.0 - lost)
