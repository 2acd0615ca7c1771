"""Frames of split inference: how a server of one device makes and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gaisnet.errors import RunError
from gaisnet.executor.compress import pack, unpack
from gaisnet.executor.frames import Buffer, FrameError, Header, Kind, decode, encode
from gaisnet.executor.mailbox import check_epoch
from gaisnet.models import FoundationModel
from gaisnet.schema.job import Compression

__all__ = ["Port", "SessionLostError", "Turn"]

_HIDDEN, _SIDE, _ANSWERS = "hidden", "side.", "answers"


class SessionLostError(RunError):
    """A stage does not have the keys and values that a pass builds on; replay the session."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One pass of one batch of requests through the chain."""

    number: int
    """Which batch of the service's."""
    session: str = ""
    """Names the key-value caches; empty where nothing is cached."""
    position: int = 0
    """Tokens that the caches hold before the pass; 0 starts them anew."""


class Port:
    """Makes and reads the frames of one server.

    Args:
        device: Where the server runs.
        run: Id of the run; frames of any other are refused.
        model: The whole model; its hidden size, its dtype and where it lies are read.
        compression: Of hidden states.
        name: Of the server, for the frames' headers.
        epoch: Of the run; frames of any other are refused.
    """

    def __init__(
        self,
        device: str,
        run: str,
        model: FoundationModel,
        compression: Compression = "none",
        name: str = "",
        epoch: int = 0,
    ) -> None:
        self.device = device
        self._run, self._epoch = run, epoch
        self._compression: Compression = compression
        self._name = name
        self._hidden_size = model.anatomy.hidden_size
        self._dtype: torch.dtype = getattr(torch, model.spec.dtype)
        self._place = model.device
        self._sequence = 0

    def hidden(
        self, receiver: str, turn: Turn, hidden: Tensor, side: Mapping[str, Tensor]
    ) -> tuple[str, Buffer]:
        """A frame with hidden states ``[batch, tokens, width]`` and side inputs."""
        tensors = pack(_HIDDEN, hidden, self._compression)
        tensors |= {_SIDE + name: tensor for name, tensor in side.items()}
        return self.frame("activation", receiver, tensors, turn)

    def answers(self, receiver: str, turn: Turn, answers: Tensor) -> tuple[str, Buffer]:
        """A frame with what a last stage answers: chosen tokens, classes or values."""
        return self.frame("tokens", receiver, {_ANSWERS: answers}, turn)

    def frame(
        self, kind: Kind, receiver: str, tensors: Mapping[str, Tensor], turn: Turn
    ) -> tuple[str, Buffer]:
        """A frame, with the device that it is for."""
        self._sequence += 1
        header = Header(
            run=self._run,
            kind=kind,
            sender=self.device,
            receiver=receiver,
            epoch=self._epoch,
            sequence=self._sequence,
            step=turn.number,
            stage=self._name,
            session=turn.session,
            position=turn.position,
            compression=self._compression if kind == "activation" else "none",
        )
        return receiver, encode(header, tensors)

    def open(self, frame: Buffer, *kinds: Kind) -> tuple[Turn, dict[str, Tensor]]:
        """Decode a frame.

        Raises:
            FrameError: It is damaged, of another run, for another device, or of another kind.
        """
        header, tensors = decode(frame)
        if header.run != self._run or header.receiver != self.device or header.kind not in kinds:
            raise FrameError(
                f"a frame of run {header.run} with {header.kind} for {header.receiver} came to "
                f"{self.device}, which expects {' or '.join(kinds)} of run {self._run}"
            )
        check_epoch(header, self._epoch, self.device)
        return Turn(header.step, header.session, header.position), tensors

    def open_hidden(self, frame: Buffer) -> tuple[Turn, Tensor, dict[str, Tensor]]:
        """Turn, hidden states and side inputs of a frame that ``hidden`` made, at the model."""
        turn, tensors = self.open(frame, "activation")
        sides = {n.removeprefix(_SIDE): t for n, t in tensors.items() if n.startswith(_SIDE)}
        hidden = unpack(_HIDDEN, tensors, self._hidden_size, self._dtype)
        return turn, hidden.to(self._place), self.placed(sides)

    def placed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors where the model is."""
        return {name: tensor.to(self._place) for name, tensor in tensors.items()}

    def open_answers(self, frame: Buffer) -> tuple[Turn, Tensor]:
        """Turn and answers of a frame that ``answers`` made.

        Raises:
            FrameError: It does not carry any.
        """
        turn, tensors = self.open(frame, "tokens")
        if _ANSWERS not in tensors:
            raise FrameError(f"a frame without answers came to {self.device}")
        return turn, tensors[_ANSWERS]
