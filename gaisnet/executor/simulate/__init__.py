"""Virtual time: what a run would take on the real fleet."""

from gaisnet.executor.simulate.clock import VirtualClock
from gaisnet.executor.simulate.timeline import Timeline

__all__ = ["Timeline", "VirtualClock"]
