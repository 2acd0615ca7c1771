"""The same number of units for every device, in the given order: the default of pipeline tools."""

from __future__ import annotations

from gaisnet.planner import SplitProblem
from gaisnet.planner.splitting.solution import Objective, Segment


def uniform(problem: SplitProblem, objective: Objective) -> list[Segment]:
    """Devices get floor or ceiling of L / N units; with fewer units than devices the first L."""
    units, devices = len(problem.units), len(problem.devices)
    edges = [units * n // devices for n in range(devices + 1)]
    return [(n, edges[n], edges[n + 1] - 1) for n in range(devices) if edges[n] < edges[n + 1]]
