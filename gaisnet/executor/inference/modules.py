"""New tunable modules for stages that answer, from the edge that averages them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer
from gaisnet.executor.inference.port import Port
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.residual import apply_residuals
from gaisnet.models import FoundationModel, Stage

__all__ = ["ModuleSource", "take_modules"]


class ModuleSource:
    """Hands tunable modules to the servers of a cluster; lives on its edge."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._modules: Mapping[str, Tensor] = {}

    def fill(self, frame: Buffer) -> Answer:
        """Take the modules that are to be handed out."""
        _, self._modules = self._mailbox.open(frame, Moment(), "modules")
        return Answer()

    def publish(self, receiver: str, names: Sequence[str]) -> Answer:
        """A ``modules`` frame with the modules of these names."""
        part = {name: self._modules[name] for name in names}
        return Answer((self._mailbox.frame("modules", receiver, part, Moment()),))


def take_modules(
    port: Port, model: FoundationModel, stages: Sequence[Stage], frame: Buffer
) -> None:
    """Load a ``modules`` frame into all of ``stages``.

    Raises:
        FrameError: The frame is damaged or not for this server.
        ModelError: It does not fit the stages; then none of them has changed.
    """
    _, modules = port.open(frame, "modules")
    for stage in stages:
        stage.load_tunable_state(modules)
        apply_residuals(model, stage, modules)
