"""The textbook programme: a variable per device and unit, products of them linearised.

    x[n,l] in {0,1}            device n holds unit l
    s[n,l] >= x[n,l] - x[n,l-1]   a segment of n begins at l; at most one begins
    h[n,m,l] >= x[n,l] + x[m,l+1] - 1   the cut after l goes from n to m

Source: the linearisation of McCormick (1976) as placement papers use it, e.g. the mixed-integer
programmes of Helix (Mei et al., arXiv 2406.01566) and of split learning surveys. Its relaxation is
weak: x = 1/2 everywhere pays for no cut.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import Literal

import numpy as np
import pulp

from gaisnet.planner import SplitProblem, evaluate_split
from gaisnet.planner.highs import highs
from gaisnet.planner.splitting.evaluate import objective_value
from gaisnet.planner.splitting.instance import SplitInstance, translate
from gaisnet.planner.splitting.solution import Objective, Segment

Solver = Literal["highs", "cbc"]
_SCALE = 1e3


def textbook(
    problem: SplitProblem, objective: Objective, solver: Solver, time_limit_s: float
) -> list[Segment] | None:
    """The best split found within the limit, for latency, energy or period."""
    model, instance = pulp.LpProblem("textbook", pulp.LpMinimize), translate(problem)
    work = instance.work_j if objective == "energy" else instance.work_s
    scale = _SCALE / float(work.mean() * instance.units)
    every, units = range(instance.devices), range(instance.units)
    x = [[model.add_variable(f"x_{n}_{u}", cat=pulp.LpBinary) for u in units] for n in every]
    busy = [[float(work[n, u]) * scale * x[n][u] for u in units] for n in every]
    for n in every:
        _add_device(model, instance, x[n], n)
    for u in units:
        model += pulp.lpSum(x[n][u] for n in every) == 1
    hops = [_add_cut(model, instance, objective, x, u, scale) for u in units[:-1]]
    stages = [pulp.lpSum(terms) for terms in (*busy, *hops)]
    if objective == "period":
        longest = model.add_variable("T", 0)
        for stage in stages:
            model += longest >= stage
        model.setObjective(longest)
    else:
        model.setObjective(pulp.lpSum(stages))
    _run(model, solver, time_limit_s)
    return _best(problem, objective, x)


def _add_device(
    model: pulp.LpProblem, instance: SplitInstance, x: list[pulp.LpVariable], n: int
) -> None:
    """Memory, and one segment at most."""
    need = [float(each) * y for each, y in zip(instance.memory_bytes[n], x, strict=True)]
    model += pulp.lpSum(need) <= float(instance.capacity_bytes[n])
    begins = [model.add_variable(f"s_{n}_{u}", 0, 1) for u in range(len(x))]
    for u, begin in enumerate(begins):
        model += begin >= x[u] - (x[u - 1] if u else 0)
    model += pulp.lpSum(begins) <= 1


def _add_cut(
    model: pulp.LpProblem,
    instance: SplitInstance,
    objective: Objective,
    x: list[list[pulp.LpVariable]],
    u: int,
    scale: float,
) -> list[pulp.LpAffineExpression]:
    """The linearised products of one cut; pairs without a link exclude each other."""
    hop, costs = (instance.hop_j if objective == "energy" else instance.hop_s), []
    for n, m in permutations(range(instance.devices), 2):
        if not math.isfinite(instance.hop_s[n, m, u]):
            model += x[n][u] + x[m][u + 1] <= 1
            continue
        h = model.add_variable(f"h_{n}_{m}_{u}", 0, 1)
        model += h >= x[n][u] + x[m][u + 1] - 1
        costs.append(float(hop[n, m, u]) * scale * h)
    return costs


def _run(model: pulp.LpProblem, solver: Solver, time_limit_s: float) -> None:
    if solver == "highs":
        model.solve(highs(timeLimit=time_limit_s, random_seed=0))
    else:
        model.solve(pulp.PULP_CBC_CMD(msg=False, threads=1, timeLimit=time_limit_s))


def _best(
    problem: SplitProblem, objective: Objective, x: list[list[pulp.LpVariable]]
) -> list[Segment] | None:
    """The split that the variables spell, if they spell one that is allowed."""
    holder = []
    for u in range(len(problem.units)):
        values = [row[u].value() or 0.0 for row in x]
        if max(values) < 0.99:
            return None
        holder.append(int(np.argmax(values)))
    first, segments = 0, []
    for u, device in enumerate(holder):
        if u + 1 == len(holder) or holder[u + 1] != device:
            segments.append((device, first, u))
            first = u + 1
    found = evaluate_split(problem, segments)
    fine = not found.violations and math.isfinite(objective_value(found, objective))
    return segments if fine else None
