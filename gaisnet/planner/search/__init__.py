"""The joint search over what has no exact method; all else is solved exactly for each trial."""

from gaisnet.planner.search.run import Pick, Search, search

__all__ = ["Pick", "Search", "search"]
