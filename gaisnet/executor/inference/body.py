"""A body stage that answers: hidden states in, hidden states or answers out."""

from __future__ import annotations

import torch

from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer
from gaisnet.executor.inference.answers import answers_of, next_tokens
from gaisnet.executor.inference.modules import take_modules
from gaisnet.executor.inference.port import Port
from gaisnet.executor.inference.sessions import Sessions
from gaisnet.models import FoundationModel, Stage, side_inputs

__all__ = ["BodyServer"]


class BodyServer:
    """Serves one stage to any number of services and sessions.

    Args:
        model: The whole model; its task is read.
        stage: The stage, which may be the one that is fine-tuned at the same time.
        port: Makes and reads its frames.
    """

    def __init__(self, model: FoundationModel, stage: Stage, port: Port) -> None:
        self._model = model
        self._stage = stage
        self._port = port
        self._sessions = Sessions(stage)

    @torch.inference_mode()
    def forward(self, receiver: str, to_tail: bool, frame: Buffer) -> Answer:
        """One pass through the stage.

        Args:
            receiver: Device that the result is for: the next stage's, or the entry.
            to_tail: Whether the result goes back to the entry, which has the side inputs.
            frame: Hidden states and side inputs (or the raw request, if there is no head).

        Returns:
            A frame of the same turn with hidden states; of the model's last stage with answers.

        Raises:
            SessionLostError: The turn builds on a cache that is not here.
            FrameError: The frame is damaged or not for this server.
        """
        if self._stage.is_first:
            turn, inputs = self._port.open(frame, "request")
            inputs = self._port.placed(inputs)
            hidden, side = None, side_inputs(self._model, inputs)
        else:
            turn, hidden, side = self._port.open_hidden(frame)
            inputs = side
        output = self._stage(inputs, hidden, session=self._sessions.of(turn))
        if not self._stage.is_last:
            sent = {} if to_tail else side
            return Answer((self._port.hidden(receiver, turn, output, sent),))
        answers = next_tokens(output) if turn.session else answers_of(self._model.task, output)
        return Answer((self._port.answers(receiver, turn, answers),))

    def load(self, frame: Buffer) -> Answer:
        """Take new tunable modules; caches stay, so they hold from the next token on."""
        take_modules(self._port, self._model, [self._stage], frame)
        return Answer()

    def end(self, session: str) -> Answer:
        """Forget a session; ``values["sessions"]`` are those that are left."""
        self._sessions.end(session)
        return Answer(values={"sessions": len(self._sessions)})
