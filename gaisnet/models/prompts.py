"""Deep prompts: learnt tokens before the input of every block (VPT-deep, arXiv 2203.12119, eq. 5).

Each block sees ``[prompt; hidden]``; its outputs for the prompt are dropped, and the next block
gets its own. Real tokens thus read the prompts' keys and values and nothing else changes: the
sequence outside the block keeps its length, its positions and its mask. So the cut stays where it
was, and generation works with left padding: prompts never enter the key-value cache, every pass
puts them in front of the cached keys anew. With rotary embeddings the prompts stand at position 0.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn

from gaisnet.errors import ModelError
from gaisnet.models.adapters import replace_hidden
from gaisnet.models.foundation import FoundationModel
from gaisnet.models.probe import hidden_argument
from gaisnet.schema.model import DeepPromptSpec

__all__ = ["DeepPrompt", "attach_deep_prompts"]

_NAME = "deep_prompt"
_MASKS = ("attention_mask", "causal_mask", "attn_mask")
_CACHES = ("past_key_values", "past_key_value", "layer_past")
_KNOWN = frozenset({"position_embeddings", "position_ids", "hidden_states", *_MASKS, *_CACHES})


class DeepPrompt(nn.Module):
    """The prompt of one block.

    Args:
        tokens: Number of prompt tokens.
        width: Width of the hidden state.
        layer: Index of the block, for its layer of the key-value cache.
        index: Where in the block's output tuple the hidden state stands; ``None`` if the block
            returns the hidden state itself.
        dtype: Type of the parameters.
    """

    def __init__(
        self, tokens: int, width: int, layer: int, index: int | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / (2 * width))
        self.prompt = nn.Parameter(torch.empty(tokens, width, dtype=dtype).uniform_(-bound, bound))
        self.layer = layer
        self.index = index

    @property
    def tokens(self) -> int:
        """Number of prompt tokens."""
        return self.prompt.shape[0]

    def before(self, hidden: Tensor) -> Tensor:
        """``[batch, n, width]`` to ``[batch, tokens + n, width]``."""
        return torch.cat([self.prompt.expand(hidden.shape[0], -1, -1), hidden], dim=1)

    def drop(self, hidden: Tensor) -> Tensor:
        """``[batch, tokens + n, width]`` to ``[batch, n, width]``."""
        return hidden[:, self.tokens :]


def attach_deep_prompts(model: FoundationModel, spec: DeepPromptSpec) -> None:
    """Give every block of the model its prompt tokens.

    Raises:
        ModelError: The blocks read something along the token axis that has no meaning for a
            prompt (ALiBi, a relative position bias), or are no attention over tokens.
    """
    anatomy = model.anatomy
    strange = sorted(anatomy.block_extras - _KNOWN)
    if strange:
        raise ModelError(
            f"{model.architecture} cannot have deep prompts: its blocks read {', '.join(strange)}, "
            "which is not defined for prompt tokens",
            hint="tune it with lora, adapter or bitfit",
        )
    dtype = next(p.dtype for p in model.bare.parameters() if p.is_floating_point())
    for layer, block in enumerate(model.bare.get_submodule(anatomy.block_path).children()):
        prompt = DeepPrompt(spec.tokens, anatomy.hidden_size, layer, anatomy.output_index, dtype)
        block.add_module(_NAME, prompt.to(model.device))
        block.register_forward_pre_hook(_insert, with_kwargs=True)
        block.register_forward_hook(_drop)
    _try(model)


@torch.no_grad()
def _try(model: FoundationModel) -> None:
    """One sample: some blocks compute a position bias for as many tokens as they expect."""
    inputs = model.example_inputs(1)
    inputs.pop("labels")
    try:
        model.bare(**inputs)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ModelError(
            f"{model.architecture} cannot have deep prompts: its blocks fail with them: {error}",
            hint="tune it with lora, adapter or bitfit",
        ) from error


def _prompt_of(block: nn.Module) -> DeepPrompt:
    prompt = block.get_submodule(_NAME)
    assert isinstance(prompt, DeepPrompt)
    return prompt


def _insert(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Forward pre-hook: prompt tokens into everything that runs along the token axis."""
    prompt = _prompt_of(block)
    hidden = hidden_argument(args, kwargs)
    named, rest = _by_name(block, args, kwargs)
    cache = next((named[name] for name in _CACHES if named.get(name) is not None), None)
    for name, value in named.items():
        if value is hidden:
            named[name] = prompt.before(hidden)
        elif name in _MASKS:
            named[name] = _extend_mask(value, hidden, prompt, cache)
        elif name in _CACHES and value is not None:
            named[name] = _PromptedCache(value, prompt.tokens)
        elif name == "position_embeddings":
            named[name] = _extend_rotary(value, hidden.shape[1], prompt.tokens)
        elif name == "position_ids" and value is not None:
            named[name] = _pad_front(value, prompt.tokens, -1, 0)
    return rest, named


def _drop(block: nn.Module, args: Any, output: Any) -> Any:
    """Forward hook: the prompt's own outputs go."""
    prompt = _prompt_of(block)
    return replace_hidden(output, prompt.index, prompt.drop)


def _by_name(
    block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Positional arguments by the names that the block's ``forward`` gives them."""
    names = list(inspect.signature(block.forward).parameters)[: len(args)]
    return {**dict(zip(names, args, strict=True)), **kwargs}, ()


def _extend_mask(mask: Any, hidden: Tensor, prompt: DeepPrompt, cache: Any) -> Any:
    """Let every token see the prompt, and the prompt only itself.

    Without a mask the kernels are causal from the top left, which is right for a prompt in front
    of a whole sequence, but not for one new token after cached ones.
    """
    if mask is None:
        return _full_mask(hidden, prompt, cache)
    visible, unseen = (True, False) if mask.dtype == torch.bool else (0.0, _lowest(mask.dtype))
    mask = _pad_front(mask, prompt.tokens, -1, visible)
    if mask.dim() < 4 or (mask.shape[-2] == 1 and hidden.shape[1] > 1):
        return mask
    mask = _pad_front(mask, prompt.tokens, -2, unseen).clone()
    mask[..., : prompt.tokens, : prompt.tokens] = visible
    return mask


def _full_mask(hidden: Tensor, prompt: DeepPrompt, cache: Any) -> Tensor | None:
    if cache is None or not cache.get_seq_length(prompt.layer):
        return None
    keys, _ = cache.get_mask_sizes(hidden.shape[1], prompt.layer)
    rows, columns = prompt.tokens + hidden.shape[1], prompt.tokens + keys
    return torch.ones(1, 1, rows, columns, dtype=torch.bool, device=hidden.device)


def _lowest(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).min


def _extend_rotary(value: Any, tokens: int, prompts: int) -> Any:
    """Cosines and sines ``[..., tokens, width]``, with angle 0 for the prompt."""
    fits = isinstance(value, tuple) and len(value) == 2 and value[0].shape[-2] == tokens
    if not fits:
        return value
    cosine, sine = value
    return _pad_front(cosine, prompts, -2, 1.0), _pad_front(sine, prompts, -2, 0.0)


def _pad_front(tensor: Tensor, count: int, dim: int, value: float) -> Tensor:
    shape = list(tensor.shape)
    shape[dim] = count
    return torch.cat([tensor.new_full(shape, value), tensor], dim=dim)


class _PromptedCache:
    """A key-value cache that the prompt passes by: put in front of the keys, never stored."""

    def __init__(self, cache: Any, tokens: int) -> None:
        self._cache = cache
        self._tokens = tokens

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> Any:
        n = self._tokens
        stored = self._cache.update(keys[..., n:, :], values[..., n:, :], *args, **kwargs)
        pairs = zip((keys, values), stored, strict=True)
        return tuple(torch.cat([new[..., :n, :], old], dim=-2) for new, old in pairs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)
