"""Third witness: forward FLOPs from a model's geometry alone, without running it.

A linear map of ``n`` weights costs ``2 n`` operations per row (one multiply-add is two). Attention
over ``t`` queries and keys with ``h`` heads of width ``d`` costs ``4 t² h d``: queries times keys,
then probabilities times values. Causal masks are not subtracted, since kernels compute the whole
square unless they skip blocks. Norms, activations and softmax are left out, as in the other two
witnesses. Grouped-query attention has smaller key and value maps, but as many score products.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from gaisnet.models.foundation import FoundationModel
from gaisnet.models.inputs import text_config
from gaisnet.schema.model import DeepPromptSpec

__all__ = ["closed_form_flops", "known_family"]

_TEXT = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
_CAUSAL = ("gpt2", "gpt_neox", "granite", "llama", "mistral", "mixtral", "olmo", "olmo2", "opt")
_CAUSAL_TOO = ("phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "starcoder2")
_SENSES = ("clip", "clip_vision_model", "deit", "dinov2", "siglip_vision_model", "vit", "whisper")
_FAMILIES = frozenset((*_TEXT, *_CAUSAL, *_CAUSAL_TOO, *_SENSES))
"""Model types whose blocks are linear maps and full softmax attention and nothing else."""

_EXPERT_DIMENSIONS = 3


def known_family(model: FoundationModel) -> bool:
    """Whether the closed form is known to hold for this architecture."""
    return str(getattr(model.config, "model_type", "")) in _FAMILIES


def closed_form_flops(model: FoundationModel, tokens: int) -> list[int | None]:
    """Forward FLOPs of one sample in every unit; ``None`` everywhere for unknown families.

    Args:
        model: With its tunable modules attached, on any device.
        tokens: Length of the hidden state between the blocks.
    """
    if not known_family(model):
        return [None] * model.n_units
    blocks = model.bare.get_submodule(model.anatomy.block_path)
    prompts = model.tunable.tokens if isinstance(model.tunable, DeepPromptSpec) else 0
    within = tokens + prompts
    attention = _attention(model.config, within)
    middle = [_maps(model, block, within) + attention for block in blocks.children()]
    return [_prologue(model, tokens), *middle, _epilogue(model, tokens)]


def _attention(config: Any, tokens: int) -> int:
    text = text_config(config)
    heads = _first(text, "num_attention_heads", "n_head", "encoder_attention_heads")
    width = _first(text, "hidden_size", "n_embd", "d_model", "dim")
    head_dim = getattr(text, "head_dim", None) or width // heads
    return 4 * tokens * tokens * heads * int(head_dim)


def _first(config: Any, *names: str) -> int:
    return next(int(getattr(config, name)) for name in names if hasattr(config, name))


def _maps(model: FoundationModel, part: nn.Module, rows: int) -> int:
    """Operations of all linear maps in a module that each work on ``rows`` rows."""
    weights = 0
    for path, module in part.named_modules():
        if "original_module" in path.split("."):
            continue
        if isinstance(module, (nn.Linear, Conv1D)) or "Router" in type(module).__name__:
            weights += int(module.weight.numel())
        weights += _active_expert_weights(model.config, module)
    return 2 * rows * weights


def _active_expert_weights(config: Any, module: nn.Module) -> int:
    """Weights of the experts that one token visits, where they are stacked in one tensor."""
    stacked = [p for p in module.parameters(recurse=False) if p.dim() == _EXPERT_DIMENSIONS]
    if not stacked or isinstance(module, (nn.Linear, nn.Conv1d)):
        return 0
    visited = int(getattr(text_config(config), "num_experts_per_tok", 0))
    return int(sum(p.numel() // p.shape[0] * visited for p in stacked))


def _prologue(model: FoundationModel, tokens: int) -> int:
    """Patch or sound convolutions, and projections of embeddings; looking up costs nothing."""
    total, frames = 0, _input_frames(model)
    for path in model.anatomy.prologue:
        part = model.bare.get_submodule(path)
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                total += 2 * module.weight.numel() * _patches(model.config, module)
            elif isinstance(module, nn.Conv1d):
                frames //= int(module.stride[0])
                total += 2 * module.weight.numel() * frames
        total += _maps(model, part, tokens)
    return total


def _input_frames(model: FoundationModel) -> int:
    return 2 * int(getattr(model.config, "max_source_positions", 0) or 0)


def _patches(config: Any, convolution: nn.Conv2d) -> int:
    size = config.image_size
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    rows, columns = convolution.stride[0], convolution.stride[1]
    return int(height) // int(rows) * (int(width) // int(columns))


def _epilogue(model: FoundationModel, tokens: int) -> int:
    """The head: for every token in language models, else for one pooled vector.

    Classifiers of sound project every token before they pool.
    """
    per_token = model.task in ("causal_lm", "masked_lm") or hasattr(model.bare, "score")
    parts = {path: model.bare.get_submodule(path) for path in model.anatomy.epilogue if path}
    return sum(
        _maps(model, part, tokens if per_token or path == "projector" else 1)
        for path, part in parts.items()
    )
