"""Why there is no plan: constraints that conflict, and the smallest change that mends it."""

from gaisnet.planner.conflict.conflict import Conflict, conflict_of, fatal_loss, with_conflict
from gaisnet.planner.conflict.mends import Mend

__all__ = ["Conflict", "Mend", "conflict_of", "fatal_loss", "with_conflict"]
