"""What crosses the cut after each unit, and what the chain is fed, in bytes per sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gaisnet.models.foundation import FoundationModel
from gaisnet.models.inputs import raw_inputs
from gaisnet.models.stage import side_inputs
from gaisnet.models.state import needs_gradient
from gaisnet.profiler.passage import Listener, forward_inputs, run_pass
from gaisnet.profiler.valueless import as_without_padding

__all__ = ["Cuts", "KVCache", "hidden_before", "kv_caches", "measure_cuts"]

_KV_TOKENS = 4
_NOT_RAW = ("attention_mask", "position_ids")


@dataclass(frozen=True)
class Cuts:
    """Bytes of one sample."""

    output_bytes: tuple[int, ...]
    """Forward over the cut after each unit; the last unit's is its answer."""
    gradient_output_bytes: tuple[int, ...]
    """Backward over the same cut: 0 where nothing at or below the unit is tuned."""
    input_bytes: int
    """Raw input."""
    side_input_bytes: int
    """What every later stage gets beside the hidden state."""
    label_bytes: int
    tokens: int
    """Length of the hidden state before the first block."""


@dataclass(frozen=True)
class KVCache:
    """Keys and values that a unit keeps of one sequence."""

    token_bytes: int = 0
    """Of one token."""
    window_tokens: int | None = None
    """Most tokens that are kept; ``None``: all."""


def measure_cuts(model: FoundationModel, tokens: int | None, seed: int) -> Cuts:
    """Sizes at every cut, from the shapes of one pass.

    Args:
        model: On the meta device, with its tunable modules attached.
        tokens: Sequence length, for text.
        seed: Seed of the batch.
    """
    batch = model.example_inputs(1, tokens, seed)
    sizes = _Sizes(model.n_units)
    with as_without_padding():
        run_pass(model, batch, sizes, backward=False)
    last = model.n_units - 1
    gradients = (
        size if unit < last and needs_gradient(model, unit) else 0
        for unit, size in enumerate(sizes.output_bytes)
    )
    inputs = raw_inputs(model.bare, 1, tokens, torch.Generator().manual_seed(seed))
    raw = [value for name, value in inputs.items() if name not in _NOT_RAW]
    return Cuts(
        output_bytes=tuple(sizes.output_bytes),
        gradient_output_bytes=tuple(gradients),
        input_bytes=_bytes(raw),
        side_input_bytes=_bytes(side_inputs(model, inputs).values()),
        label_bytes=_bytes([batch["labels"]]),
        tokens=sizes.tokens,
    )


def kv_caches(model: FoundationModel) -> list[KVCache] | None:
    """What one token adds to the key-value cache of each unit, and how many tokens it keeps.

    Read off the cache that the model makes. Zeros for models that do not generate; ``None`` if
    the cache has another layout than one layer a block.

    Args:
        model: On the meta device.
    """
    if model.task != "causal_lm":
        return [KVCache()] * model.n_units
    layers = _cache_layers(model)
    if layers is None or len(layers) != model.anatomy.n_blocks:
        return None
    return [KVCache(), *map(_kv_cache, layers), KVCache()]


def hidden_before(model: FoundationModel, unit: int, batch: Mapping[str, Tensor]) -> Tensor | None:
    """The hidden state that enters ``unit``, detached; ``None`` for the first.

    Args:
        model: On any device.
        unit: Number of the unit.
        batch: With labels, on the same device.
    """
    if unit == 0:
        return None
    keeper = _Keeper(unit - 1)
    run_pass(model, batch, keeper, backward=False)
    assert keeper.kept is not None
    return keeper.kept


class _Keeper(Listener):
    def __init__(self, unit: int) -> None:
        self.kept: Tensor | None = None
        self._unit = unit

    def cut(self, unit: int, hidden: Tensor) -> None:
        if unit == self._unit:
            self.kept = hidden.detach()


class _Sizes(Listener):
    def __init__(self, n_units: int) -> None:
        self.output_bytes = [0] * n_units
        self.tokens = 1

    def cut(self, unit: int, hidden: Tensor) -> None:
        self.output_bytes[unit] = _bytes([hidden])
        if unit == 0:
            self.tokens = hidden.shape[1] if hidden.dim() > 2 else 1


def _cache_layers(model: FoundationModel) -> list[Any] | None:
    inputs = forward_inputs(model, model.example_inputs(1, _KV_TOKENS))
    inputs["use_cache"] = True
    with as_without_padding(), torch.no_grad():
        cache = model.bare(**inputs, return_dict=True).get("past_key_values")
    return getattr(cache, "layers", None)


def _kv_cache(layer: Any) -> KVCache:
    """A layer of a sliding window of W keeps W - 1 tokens: the next one makes it full."""
    held = _cached(layer)
    window = layer.sliding_window - 1 if getattr(layer, "is_sliding", False) else None
    per_token = sum(_bytes([tensor]) // tensor.shape[-2] for tensor in held if tensor.numel())
    return KVCache(per_token, window)


def _cached(layer: Any) -> list[Tensor]:
    held = (getattr(layer, name, None) for name in ("keys", "values"))
    return [tensor for tensor in held if isinstance(tensor, Tensor)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
