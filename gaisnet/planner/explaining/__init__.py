"""Why a plan is as it is, from re-solves of its decisions."""

from gaisnet.planner.explaining.explain import explain

__all__ = ["explain"]
