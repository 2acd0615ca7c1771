"""Keys and values that grow in place.

transformers' dynamic cache concatenates: every new token copies all that came before, so a
generation of n tokens moves O(n²) bytes. Here new tokens are written behind the old ones into
storage that grows by a chunk at a time; what attention reads is a view of it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer

from gaisnet.models import KVSession, Stage

__all__ = ["CHUNK_TOKENS", "new_session"]

CHUNK_TOKENS = 64
"""Tokens by which storage grows: at most so many are allocated in vain."""


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """A layer ``[batch, heads, tokens, width]``; ``keys`` and ``values`` are views of storage."""

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()
        self._storage: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append new tokens; returns all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if self._storage is None or self._storage[0].shape[-2] < end:
            self._storage = (
                _grown(key_states, self.keys, start, end),
                _grown(value_states, self.values, start, end),
            )
        keys, values = self._storage
        keys[..., start:end, :] = key_states
        values[..., start:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        return self.keys, self.values


def _grown(new: Tensor, old: Tensor, length: int, needed: int) -> Tensor:
    """Storage for ``needed`` tokens, rounded up to whole chunks, with the old ones in it."""
    chunks = -(-needed // CHUNK_TOKENS)
    storage = new.new_empty(*new.shape[:-2], chunks * CHUNK_TOKENS, new.shape[-1])
    if length:
        storage[..., :length, :] = old
    return storage


def new_session(stage: Stage) -> KVSession:
    """An empty session of a stage, with its own plain layers exchanged; sliding ones stay."""
    session = stage.new_session()
    layers = session.cache.layers
    for index in range(max(stage.first_unit - 1, 0), min(stage.last_unit, len(layers))):
        if type(layers[index]) is DynamicLayer:
            layers[index] = _GrowingLayer()
    return session
