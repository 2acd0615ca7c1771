"""Plans that bear losses: re-planning without devices, and what to do if any one is lost."""

from gaisnet.planner.robust.replan import replan, surviving_inputs
from gaisnet.planner.robust.survive import with_fallbacks
from gaisnet.planner.robust.survivors import participants

__all__ = ["participants", "replan", "surviving_inputs", "with_fallbacks"]
