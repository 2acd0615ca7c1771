"""Who answers which inference service."""

from gaisnet.planner.routing.route import Routing, route_services
from gaisnet.planner.routing.shares import FINE_TUNING

__all__ = ["FINE_TUNING", "Routing", "route_services"]
