"""What a device is told to do to itself, or to another process, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gaisnet.executor.mailbox import Moment
from gaisnet.executor.tasks import Pass
from gaisnet.schema.base import Strict

__all__ = ["Strike", "Watch"]

_METHODS = {
    "distributing": "holder.set_modules",
    "forward": "holder.forward",
    "backward": "holder.backward",
    "averaging": "holder.get_modules",
    "checkpointing": "holder.export_optimizers",
}
"""Of a device's services, by phase; an edge closes its cluster when it averages."""


class Strike(Strict):
    """A fault of a cell of the matrix."""

    device: str
    """Which strikes."""
    fault: str
    phase: str
    role: str
    """Whom it hits: this device in its part, or the driver."""
    round: int
    process: int | None = None
    """Whom it hits; without it the device's own process."""
    path: str = ""
    """Folder whose disk is to be full, or a file that tells when a process has done its part."""
    lasts_s: float = 0.0
    """How long a process is frozen; 0: for ever."""
    note: str
    """File that has a line for each strike that was done."""


class Watch:
    """Follows what a device is called for, and knows when a strike is due."""

    def __init__(self) -> None:
        self._round = -1
        self._serves = False

    def see(self, strike: Strike, service: str, method: str, arguments: Sequence[Any]) -> bool:
        """Whether it is due in this call, which is about to be done."""
        self._round = max([self._round, *map(_round_of, arguments)])
        self._serves = self._serves or service.startswith("serve/")
        if strike.phase == "inference":
            return service.startswith("serve/") and method in ("advance", "forward")
        if strike.phase == "shutdown":  # the driver writes adapters when all is answered
            ends = self._serves and strike.role == "driver"
            return ends and (service, method) == ("coordinator", "give")
        if self._round != strike.round:
            return False
        if strike.phase == "averaging" and strike.role in ("edge", "driver"):
            return (service, method) == ("coordinator", "close_cluster")
        if (strike.phase, strike.role) == ("backward", "owner"):
            # The tail turns at once: its forward call is its backward pass, too.
            return method == "forward" and str(arguments[0].stage).endswith("/tail")
        return f"{service}.{method}" == _METHODS.get(strike.phase)

    @property
    def serves(self) -> bool:
        """Whether the rounds are over: services are being answered, or were."""
        return self._serves


def _round_of(argument: object) -> int:
    moment = argument.moment if isinstance(argument, Pass) else argument
    return moment.round if isinstance(moment, Moment) else -1
