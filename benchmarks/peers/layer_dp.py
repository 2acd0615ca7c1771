"""A dynamic programme over layers and devices that may come back to a device.

Source: EdgeShard (Zhang et al., arXiv 2405.14371), Algorithms 1 and 2: the state is (layer,
device), the next layer stays or moves on, and what a path has put on a device is subtracted from
its memory along that path. Only the best path into each state is kept, so memory makes it a
heuristic, and nothing keeps it from visiting a device twice.
"""

from __future__ import annotations

import math
from itertools import groupby

import numpy as np

from benchmarks.peers.tables import tables_of
from gaisnet.planner import SplitProblem
from gaisnet.planner.splitting.solution import Objective, Segment


def layer_dp(problem: SplitProblem, objective: Objective) -> list[Segment] | None:
    """Best path over (layer, device) states, memory accounted along each path."""
    costs, join = tables_of(problem, objective)
    devices, units = len(problem.devices), len(problem.units)
    memory = np.array([device.memory_bytes for device in problem.devices])
    need = [problem.unit_bytes(unit) for unit in range(units)]
    every = np.arange(devices)
    work = np.array([costs.segment[n].diagonal() for n in range(devices)])
    stay = np.arange(devices)[:, None] == np.arange(devices)[None, :]
    value = work[:, 0].copy()
    left = np.repeat(memory[None], devices, axis=0)
    left[every, every] -= need[0]
    back = np.zeros((units, devices), dtype=int)
    busy = value.copy()
    for unit in range(1, units):
        way = np.where(stay, 0.0, costs.cut[:, :, unit - 1])
        fits = left >= need[unit] * (1 - 1e-9)
        if objective == "period":
            same = np.where(stay, (busy + work[:, unit])[:, None], work[None, :, unit])
            ways = np.maximum(np.maximum(value[:, None], way), same)
        else:
            ways = join(join(value[:, None], way), work[None, :, unit])
        ways = np.where(fits, ways, np.inf)
        back[unit] = ways.argmin(axis=0)
        stayed = back[unit] == every
        busy = np.where(stayed, busy + work[:, unit], work[:, unit])
        value, left = ways.min(axis=0), left[back[unit]].copy()
        left[every, every] -= need[unit]
    if not math.isfinite(value.min()):
        return None
    holder = [int(value.argmin())]
    for unit in range(units - 1, 0, -1):
        holder.append(int(back[unit, holder[-1]]))
    return _segments(holder[::-1])


def _segments(holder: list[int]) -> list[Segment]:
    """Runs of units on the same device."""
    segments, first = [], 0
    for device, run in groupby(holder):
        count = len([*run])
        segments.append((device, first, first + count - 1))
        first += count
    return segments
