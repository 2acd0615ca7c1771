"""What fine-tuning and each service get of every device, decided with the routing."""

from gaisnet.planner.sharing.share import share_services

__all__ = ["share_services"]
