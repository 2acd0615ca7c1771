"""A service that only makes and takes frames: what engines are tested and links are timed with."""

from __future__ import annotations

import torch

from gaisnet.errors import RunError
from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer
from gaisnet.executor.mailbox import Mailbox, Moment

__all__ = ["PROBE", "Probe"]

PROBE = "probe"
"""Name of the service."""


class Probe:
    """Makes frames for others, and says what it got.

    Args:
        mailbox: The device's.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def make(self, receiver: str, items: int) -> Answer:
        """A frame with so many float32 ones for another device."""
        return Answer((self._frame(receiver, torch.ones(items)),))

    def take(self, factor: float, *frames: Buffer) -> Answer:
        """``values["sum"]``: ``factor`` times the sum of all that the frames hold."""
        total = sum(float(self._open(frame).double().sum()) for frame in frames)
        return Answer(values={"sum": factor * total})

    def turn(self, receiver: str, frame: Buffer) -> Answer:
        """The frame's tensor again, for another device."""
        return Answer((self._frame(receiver, self._open(frame)),))

    def fail(self, message: str) -> Answer:
        """Raises RunError, always."""
        raise RunError(message, where="probe", hint="ask for something else")

    def _frame(self, receiver: str, tensor: torch.Tensor) -> tuple[str, Buffer]:
        return self._mailbox.frame("data", receiver, {"x": tensor}, Moment())

    def _open(self, frame: Buffer) -> torch.Tensor:
        return self._mailbox.open(frame, Moment(), "data")[1]["x"]
