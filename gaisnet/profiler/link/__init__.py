"""The link between two devices, measured from end to end."""

from gaisnet.profiler.link.address import Address, parse_address
from gaisnet.profiler.link.listen import Listener
from gaisnet.profiler.link.measure import LinkEffort, fleet_link, measure_link
from gaisnet.profiler.link.wire import LinkError

__all__ = [
    "Address",
    "LinkEffort",
    "LinkError",
    "Listener",
    "fleet_link",
    "measure_link",
    "parse_address",
]
