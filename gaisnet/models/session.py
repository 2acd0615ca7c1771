"""The key-value cache of one stage for one generating batch.

A stage holds keys and values only of its own blocks, but the model's code asks the cache how long
the sequence is, often of a layer that another stage holds. Foreign layers are therefore replaced
by counters. The session also remembers padding and positions, so that a decoding step needs
nothing beside the hidden state.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)

from gaisnet.errors import ModelError
from gaisnet.models.inputs import text_config

__all__ = ["KVSession"]


class KVSession:
    """Keys, values, padding and positions of one batch at one stage.

    Args:
        config: The model's configuration.
        n_blocks: Blocks of the whole model.
        first_unit: First unit of the stage.
        last_unit: Last unit of the stage.

    Raises:
        ModelError: The model's cache has another layout than one layer a block.
    """

    def __init__(self, config: Any, n_blocks: int, first_unit: int, last_unit: int) -> None:
        self.cache: Cache = DynamicCache(config=text_config(config))
        if len(self.cache.layers) != n_blocks:
            raise ModelError(
                f"{config.model_type} cannot generate over a split: its cache has "
                f"{len(self.cache.layers)} layers for {n_blocks} blocks"
            )
        own = range(first_unit - 1, last_unit)
        self._below = [_foreign(self.cache, i) for i in range(n_blocks) if i < own.start]
        self._above = [_foreign(self.cache, i) for i in range(n_blocks) if i >= own.stop]
        self.length = 0
        """Tokens seen, padding included."""
        self._mask: Tensor | None = None
        self._seen: Tensor | None = None

    @property
    def bytes(self) -> int:
        """Bytes of the keys and values that this stage holds."""
        tensors = (t for layer in self.cache.layers for t in (layer.keys, layer.values))
        return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))

    def extend(
        self, batch_size: int, tokens: int, mask: Tensor | None, device: torch.device
    ) -> tuple[Tensor | None, Tensor]:
        """Take note of new tokens; to be called once a pass, before it.

        Args:
            batch_size: Sequences.
            tokens: New tokens of each.
            mask: ``[batch_size, tokens]``, 0 for padding; ``None`` if there is none.
            device: Where the pass runs.

        Returns:
            The mask over all tokens so far ``[batch_size, length]``, or ``None`` without padding,
            and the positions of the new ones ``[batch_size, tokens]``, counted without padding.
        """
        if mask is not None and bool((mask != 0).all()):
            mask = None
        positions = self._positions(batch_size, tokens, mask, device)
        if mask is not None or self._mask is not None:
            new = _ones(batch_size, tokens, device) if mask is None else mask.long()
            old = _ones(batch_size, self.length, device) if self._mask is None else self._mask
            self._mask = torch.cat([old, new], dim=-1)
        self.length += tokens
        return self._mask, positions

    def passed_below(self) -> None:
        """The pass went by the blocks below the stage."""
        _count(self._below, self.length)

    def passed_above(self) -> None:
        """The pass left the stage."""
        _count(self._above, self.length)

    def _positions(
        self, batch_size: int, tokens: int, mask: Tensor | None, device: torch.device
    ) -> Tensor:
        if self._seen is None:
            self._seen = torch.zeros(batch_size, 1, dtype=torch.long, device=device)
        real = _ones(batch_size, tokens, device) if mask is None else mask.long()
        counted = self._seen + real.cumsum(-1)
        self._seen = counted[:, -1:]
        positions = counted - 1
        return positions if mask is None else positions.masked_fill(real == 0, 0)


def _foreign(cache: Cache, index: int) -> Any:
    """A layer that another stage holds: here it only knows how many tokens have passed."""
    layer = cache.layers[index]
    if isinstance(layer, DynamicLayer) and not isinstance(layer, DynamicSlidingWindowLayer):
        layer.tokens_passed = 0
        layer.get_seq_length = lambda: layer.tokens_passed
    return layer


def _count(layers: list[Any], length: int) -> None:
    for layer in layers:
        if hasattr(layer, "tokens_passed"):
            layer.tokens_passed = length
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length = length
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            layer.has_previous_state = dict.fromkeys(layer.has_previous_state, True)


def _ones(batch_size: int, tokens: int, device: torch.device) -> Tensor:
    return torch.ones(batch_size, tokens, dtype=torch.long, device=device)
