"""Who answers which inference service."""

from gaisnet.planner.routing.route import Routing, route_services

__all__ = ["Routing", "route_services"]
