"""The link between two devices, measured from end to end."""

from gaisnet.links.address import Address, parse_address
from gaisnet.links.listen import Listener
from gaisnet.links.measure import LinkEffort, fleet_link, measure_link
from gaisnet.links.wire import LinkError

__all__ = [
    "Address",
    "LinkEffort",
    "LinkError",
    "Listener",
    "fleet_link",
    "measure_link",
    "parse_address",
]
