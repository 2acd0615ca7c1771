"""Where requests arise: the head embeds them, the tail (or the body's end) answers them.

Requests and answers stay here. Under ``u_shape`` nothing but hidden states and masks leaves; only
a plan without a head sends the raw requests to the first body stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import RequestSource
from gaisnet.executor.data import Batch, DataFormat, Shard, load_shard
from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer
from gaisnet.executor.inference.answers import (
    Score,
    answers_of,
    score,
    score_continuations,
)
from gaisnet.executor.inference.generation import Generation
from gaisnet.executor.inference.modules import take_modules
from gaisnet.executor.inference.port import Port, Turn
from gaisnet.executor.inference.sessions import Sessions
from gaisnet.executor.privacy import Guard
from gaisnet.models import FoundationModel, GreedyDecoder, KVSession, Stage, side_inputs

__all__ = ["EntryServer"]


@dataclass(slots=True)
class _Open:
    """A batch that is being answered."""

    batch: Batch
    decoder: GreedyDecoder | None = None
    passed: int = 0
    """Tokens that went through the chain."""
    side: Mapping[str, Tensor] = field(default_factory=dict)
    """Side inputs of the pass that is under way; the tail needs them, too."""


class EntryServer:
    """Head, tail, requests and answers of one service.

    Args:
        model: The whole model.
        head: The first units, if they are held here.
        tail: The last units, if they are held here and not part of the head.
        port: Makes and reads its frames.
        generation: How prompts are continued; ``None`` for one answer per request.
    """

    def __init__(
        self,
        model: FoundationModel,
        head: Stage | None,
        tail: Stage | None,
        port: Port,
        guard: Guard,
        generation: Generation | None = None,
    ) -> None:
        self._model = model
        self._stages = [stage for stage in (head, tail) if stage is not None]
        self._head, self._tail = head, tail
        self._sessions = {id(stage): Sessions(stage) for stage in self._stages}
        self._requests: Shard
        self._port = port
        self._guard = guard
        self._generation = generation
        self._open: dict[int, _Open] = {}
        self._answers: dict[int, Tensor] = {}
        self._scores: dict[int, Score] = {}

    def read(self, source: RequestSource) -> Answer:
        """Read the requests, here and nowhere else; they may have ``labels`` to score with.

        Returns:
            ``values``: how many ``requests`` there are, and of how many ``tokens`` if they are
            continued.

        Raises:
            InputError: They are missing, not what the model takes, or cannot be continued.
        """
        form, path = DataFormat.of(self._model), source.file.locate()
        found = load_shard(path, source.name, form, use="requests", tokens=source.tokens)
        if source.first is not None:
            some = found.take(range(min(source.first, len(found))))
            found = Shard(found.name, some.inputs, some.labels)
        return self._take_up(found)

    def ask(self, name: str, frame: Buffer) -> Answer:
        """As ``read``, but with requests that whoever runs the service has."""
        return self._take_up(Shard.of(name, self._port.open(frame, "data")[1]))

    def open(self, number: int, first: int, end: int) -> Answer:
        """Take up requests ``first`` to ``end - 1`` as batch ``number``."""
        batch = self._requests.take(range(first, end))
        self._open[number] = _Open(batch, self._decoder(batch))
        return Answer()

    @torch.inference_mode()
    def advance(self, number: int, receiver: str | None, replay: bool = False) -> Answer:
        """Start one pass of a batch: embed the request, or the newest tokens of a generation.

        Args:
            number: Of the batch.
            receiver: Device of the first body stage; ``None`` if there is no body.
            replay: Send all tokens so far into new caches, since a stage lost its own.

        Returns:
            A frame for the receiver; without a body the values of ``take``.
        """
        held = self._held(Turn(number))
        turn, tokens = self._next_inputs(number, held, replay)
        inputs = self._port.placed(tokens)
        held.side = side_inputs(self._model, inputs)
        if self._head is None:
            assert receiver is not None, "a chain without a head has a body"
            return Answer((self._port.frame("request", receiver, inputs, turn),))
        hidden = self._head(inputs, session=self._session(self._head, turn))
        if receiver is not None:
            sent = self._guard.activation(hidden, f"{number}/{held.passed}")
            return Answer((self._port.hidden(receiver, turn, sent, held.side),))
        if self._tail is not None:
            hidden = self._tail(held.side, hidden, session=self._session(self._tail, turn))
        return self._from_logits(turn, hidden)

    @torch.inference_mode()
    def take(self, frame: Buffer) -> Answer:
        """End one pass: hidden states for the tail, or answers of the body's last stage.

        Returns:
            ``values``: ``done``, whether the batch is answered, and ``session``, the one that
            has then ended.
        """
        if self._tail is None:
            return self._from_answers(*self._port.open_answers(frame))
        turn, hidden, _ = self._port.open_hidden(frame)
        side = self._held(turn).side
        logits = self._tail(side, hidden, session=self._session(self._tail, turn))
        return self._from_logits(turn, logits)

    def load(self, frame: Buffer) -> Answer:
        """Take new tunable modules; caches stay, so they hold from the next token on."""
        take_modules(self._port, self._model, self._stages, frame)
        return Answer()

    def collect(self) -> Answer:
        """All answers so far.

        Returns:
            ``values``: ``answers``, by request in the order of the batches: a class, a list of
            tokens or of values; ``hits`` and ``count`` of those that can be scored, ``hits``
            being ``None`` where there is no right or wrong.
        """
        numbers = sorted(self._answers)
        parts = [self._scores[number] for number in numbers]
        hits = [part.hits for part in parts if part.hits is not None]
        values = {
            "answers": [row for n in numbers for row in self._rows(self._answers[n])],
            "hits": sum(hits) if hits and len(hits) == len(parts) else None,
            "count": sum(part.count for part in parts),
        }
        return Answer(values=values)

    def _take_up(self, requests: Shard) -> Answer:
        if self._generation is not None:
            self._generation.check(self._model, requests)
        self._requests = requests
        tokens = requests.inputs["input_ids"].shape[1] if self._generation is not None else None
        return Answer(values={"requests": len(requests), "tokens": tokens})

    def _decoder(self, batch: Batch) -> GreedyDecoder | None:
        plan = self._generation
        if plan is None:
            return None
        return GreedyDecoder(
            batch.inputs["input_ids"],
            batch.inputs.get("attention_mask"),
            max_new_tokens=plan.max_new_tokens,
            eos_token_id=plan.eos_token_id,
            pad_token_id=plan.pad_token_id,
        )

    def _next_inputs(
        self, number: int, held: _Open, replay: bool
    ) -> tuple[Turn, Mapping[str, Tensor]]:
        if held.decoder is None:
            return Turn(number), held.batch.inputs
        if replay:
            held.passed = 0
        session = f"{self._requests.name}.{number}"
        turn = Turn(number, session, held.passed)
        inputs = _history(held) if replay else held.decoder.inputs
        held.passed += int(inputs["input_ids"].shape[1])
        return turn, inputs

    def _session(self, stage: Stage, turn: Turn) -> KVSession | None:
        return self._sessions[id(stage)].of(turn)

    def _from_logits(self, turn: Turn, logits: Tensor) -> Answer:
        if turn.session:
            return self._continue(turn, logits[:, -1:].cpu())
        return self._finish(turn, answers_of(self._model.task, logits).cpu())

    def _from_answers(self, turn: Turn, answers: Tensor) -> Answer:
        if turn.session:
            return self._continue(turn, _as_logits(answers))
        return self._finish(turn, answers)

    def _continue(self, turn: Turn, logits: Tensor) -> Answer:
        held = self._held(turn)
        assert held.decoder is not None, "only generating batches have sessions"
        held.decoder.step(logits)
        if not held.decoder.done:
            return Answer(values={"done": False})
        prompt = held.batch.inputs["input_ids"].shape[1]
        return self._finish(turn, held.decoder.sequences[:, prompt:])

    def _finish(self, turn: Turn, answers: Tensor) -> Answer:
        self._answers[turn.number] = answers
        self._scores[turn.number] = self._score(answers, self._held(turn).batch.labels)
        del self._open[turn.number]
        for sessions in self._sessions.values():
            sessions.end(turn.session)
        return Answer(values={"done": True, "session": turn.session})

    def _held(self, turn: Turn) -> _Open:
        held = self._open.get(turn.number)
        if held is None:
            raise RunError(f"batch {turn.number} is not open at {self._port.device}")
        return held

    def _rows(self, answers: Tensor) -> list[Any]:
        rows: list[Any] = answers.tolist()
        if self._generation is None:
            return rows
        return [_until(row, self._generation.end_tokens) for row in rows]

    def _score(self, answers: Tensor, labels: Tensor | None) -> Score:
        if labels is None:
            return Score(None, 0)
        if self._generation is not None:
            return score_continuations(answers, labels)
        return score(self._model.task, answers, labels)


def _history(held: _Open) -> dict[str, Tensor]:
    """Prompt and all tokens so far, as one prompt."""
    assert held.decoder is not None
    tokens = held.decoder.sequences
    mask = held.batch.inputs.get("attention_mask")
    if mask is None:
        return {"input_ids": tokens}
    new = mask.new_ones(len(mask), tokens.shape[1] - mask.shape[1])
    return {"input_ids": tokens, "attention_mask": torch.cat([mask, new], dim=1)}


def _as_logits(tokens: Tensor) -> Tensor:
    """Logits ``[batch, 1, …]`` whose likeliest tokens are these: a body's end sends no logits."""
    logits = torch.zeros(len(tokens), 1, int(tokens.max()) + 1)
    return logits.scatter_(-1, tokens.view(-1, 1, 1), 1.0)


def _until(row: list[int], ends: frozenset[int]) -> list[int]:
    """The row up to and with its first end token."""
    for place, token in enumerate(row):
        if token in ends:
            return row[: place + 1]
    return row
