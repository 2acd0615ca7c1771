"""HFSL, federated, split and centralised training as plans of the same kind."""

from gaisnet.planner.schemes.choose import Choice, choose_clusters, is_plannable

__all__ = ["Choice", "choose_clusters", "is_plannable"]
