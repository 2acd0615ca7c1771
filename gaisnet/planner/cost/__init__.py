"""The one cost model: seconds, bytes and joules of a model's units on a fleet's devices."""

from gaisnet.planner.cost.compression import SCALE_BYTES, compressed_bytes
from gaisnet.planner.cost.devices import DeviceCost
from gaisnet.planner.cost.links import LinkFigures, LinkTable, radio_bits_per_s
from gaisnet.planner.cost.memory import MemoryNeed, Residence, frozen_bytes, unit_bytes
from gaisnet.planner.cost.model import CostModel

__all__ = [
    "SCALE_BYTES",
    "CostModel",
    "DeviceCost",
    "LinkFigures",
    "LinkTable",
    "MemoryNeed",
    "Residence",
    "compressed_bytes",
    "frozen_bytes",
    "radio_bits_per_s",
    "unit_bytes",
]
