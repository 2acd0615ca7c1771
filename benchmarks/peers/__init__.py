"""Our own re-implementations of how others place layers, one file a rule, to compare with.

Each rule is a function ``(problem, objective) -> segments | None``. Rules that know nothing of an
objective return the same split for all of them.
"""

from benchmarks.peers.given_order import all_in_given_order, without_weak
from benchmarks.peers.layer_dp import layer_dp
from benchmarks.peers.memory_ring import memory_ring
from benchmarks.peers.uniform import uniform

RULES = {
    "uniform": uniform,
    "memory ring (exo)": memory_ring,
    "given order, all devices (HALDA)": all_in_given_order,
    "the same without weak devices (prima.cpp)": without_weak,
    "layer DP with revisits (EdgeShard)": layer_dp,
}

__all__ = ["RULES"]
