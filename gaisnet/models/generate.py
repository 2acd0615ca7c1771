"""Greedy generation over a chain of stages, token for token what the whole model generates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gaisnet.models.session import KVSession
from gaisnet.models.stage import Stage

__all__ = ["GreedyDecoder", "greedy_generate", "run_stages"]


def run_stages(
    stages: Sequence[Stage],
    inputs: Mapping[str, Tensor],
    sessions: Sequence[KVSession] | None = None,
) -> Tensor:
    """One pass of a batch through all stages in this process; the last stage's answer."""
    hidden: Tensor | None = None
    for index, stage in enumerate(stages):
        hidden = stage(inputs, hidden, session=sessions[index] if sessions else None)
    assert hidden is not None
    return hidden


class GreedyDecoder:
    """Which token comes next, and when a batch has ended: the loop's state without the model.

    Feed ``inputs`` to the first stage, the last stage's logits to ``step``; until ``done``.
    Later stages need ``side`` beside the hidden state, which is empty after the prompt: their
    sessions remember padding and positions.

    Args:
        input_ids: The prompts ``[batch, tokens]``, padded on the left.
        attention_mask: 0 for padding; by default nothing is padding.
        max_new_tokens: Tokens to add at most.
        eos_token_id: A sequence ends at this token; by default none does.
        pad_token_id: Fills up sequences that have ended; by default the end token.
    """

    def __init__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        max_new_tokens: int,
        eos_token_id: int | Sequence[int] | None = None,
        pad_token_id: int | None = None,
    ) -> None:
        ends = [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id or ())
        self.inputs: dict[str, Tensor] = {"input_ids": input_ids}
        self.side: dict[str, Tensor] = {}
        if attention_mask is not None:
            self.side = {"attention_mask": attention_mask}
            self.inputs |= self.side
        self._ends = torch.tensor(ends, device=input_ids.device)
        self._pad = pad_token_id if pad_token_id is not None else (ends[0] if ends else 0)
        self._left = max_new_tokens
        self._running = torch.ones(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        self._pieces = [input_ids]

    @property
    def done(self) -> bool:
        """Whether every sequence has ended or is long enough."""
        return self._left <= 0 or not bool(self._running.any())

    @property
    def sequences(self) -> Tensor:
        """Prompts and tokens so far ``[batch, tokens]``."""
        return torch.cat(self._pieces, dim=-1)

    def step(self, logits: Tensor) -> Tensor:
        """Take the likeliest token of each sequence.

        Args:
            logits: ``[batch, tokens, vocabulary]``; the last token's are read.

        Returns:
            The new tokens ``[batch, 1]``, which are also the next ``inputs``.
        """
        tokens = logits[:, -1].float().argmax(-1)
        if len(self._ends):
            tokens = torch.where(self._running, tokens, self._pad)
            self._running = self._running & ~torch.isin(tokens, self._ends)
        self._left -= 1
        new = tokens.unsqueeze(-1)
        self._pieces.append(new)
        self.inputs, self.side = {"input_ids": new}, {}
        return new


@torch.no_grad()
def greedy_generate(
    stages: Sequence[Stage],
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    max_new_tokens: int = 20,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
) -> Tensor:
    """Continue prompts greedily, as the model's own ``generate(do_sample=False)`` does.

    Args:
        stages: All stages of a causal language model, in order.
        input_ids: The prompts ``[batch, tokens]``, padded on the left.
        attention_mask: 0 for padding ``[batch, tokens]``; by default nothing is padding.
        max_new_tokens: Tokens to add at most.
        eos_token_id: A sequence ends at this token; by default none does.
        pad_token_id: Fills up sequences that have ended; by default the end token.

    Returns:
        Prompts and new tokens ``[batch, tokens + new]``.
    """
    decoder = GreedyDecoder(
        input_ids,
        attention_mask,
        max_new_tokens=max_new_tokens,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )
    sessions = [stage.new_session() for stage in stages]
    while not decoder.done:
        decoder.step(run_stages(stages, decoder.inputs, sessions))
    return decoder.sequences
