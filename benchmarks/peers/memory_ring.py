"""Units in proportion to memory, largest device first, as in exo.

Source: exo, ``exo/topology/ring_memory_weighted_partitioning_strategy.py`` and
``map_partitions_to_shards`` in ``partitioning_strategy.py``: shares are rounded to five digits,
a shard ends before ``int(end * layers)``, and who gets nothing is left out.
"""

from __future__ import annotations

from gaisnet.planner import SplitProblem
from gaisnet.planner.splitting.solution import Objective, Segment


def memory_ring(problem: SplitProblem, objective: Objective) -> list[Segment]:
    """A ring whose shares of the units are the devices' shares of the memory."""
    memory = [device.memory_bytes for device in problem.devices]
    units, total = len(problem.units), sum(memory)
    order = sorted(range(len(memory)), key=lambda n: (memory[n], n), reverse=True)
    share, start, segments = 0.0, 0, []
    for n in order:
        share = round(share + memory[n] / total, 5)
        end = units if n == order[-1] else min(int(share * units), units)
        if end > start:
            segments.append((n, start, end - 1))
            start = end
    return segments
