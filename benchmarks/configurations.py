"""The geometries that several benchmarks share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers

from gaisnet.schema.model import ModelSpec

__all__ = ["COUNTED_ONLY", "MODELS", "specs_of"]

_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_VIT_TINY = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
_MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
_LLAMA = {
    "hidden_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "intermediate_size": 1408,
    "vocab_size": 8000,
}
MODELS: dict[str, tuple[str, Any]] = {
    "ViT-Tiny": ("ViTForImageClassification", transformers.ViTConfig(**_VIT_TINY)),
    "MiniLM": ("BertForSequenceClassification", transformers.BertConfig(**_MINILM)),
    "GPT-2, 6 blocks": (
        "GPT2LMHeadModel",
        transformers.GPT2Config(n_layer=6, vocab_size=8000, **_SPECIAL),
    ),
    "Llama type": ("LlamaForCausalLM", transformers.LlamaConfig(**_LLAMA, **_SPECIAL)),
}
COUNTED_ONLY: dict[str, tuple[str, Any]] = {
    "Whisper encoder": ("WhisperForAudioClassification", transformers.WhisperConfig()),
    "Qwen3 type": (
        "Qwen3ForCausalLM",
        transformers.Qwen3Config(**_LLAMA, **_SPECIAL, head_dim=128),
    ),
    "ViT-Base": ("ViTForImageClassification", transformers.ViTConfig()),
    "CLIP vision": ("CLIPVisionModel", transformers.CLIPVisionConfig()),
    "Mixtral type": (
        "MixtralForCausalLM",
        transformers.MixtralConfig(
            **_LLAMA, **_SPECIAL, num_local_experts=4, num_experts_per_tok=2
        ),
    ),
}


def specs_of(folder: Path, configs: dict[str, tuple[str, Any]]) -> dict[str, ModelSpec]:
    """The configurations, written as files."""
    found = {}
    for name, (architecture, config) in configs.items():
        config.architectures = [architecture]
        path = folder / f"{name}.json"
        config.to_json_file(path, use_diff=False)
        found[name] = ModelSpec(source=str(path))
    return found
