"""Small models of the named families, as configuration files, and their geometry by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from gaisnet.models import FoundationModel, attach, load_model
from gaisnet.profiler.standins import model_on_meta
from gaisnet.schema.model import (
    AdapterSpec,
    BitFitSpec,
    DeepPromptSpec,
    FullSpec,
    HeadSpec,
    LoraSpec,
    ModelSpec,
    TunableSpec,
)

TUNABLES: dict[str, TunableSpec] = {
    "full": FullSpec(),
    "lora": LoraSpec(r=4),
    "adapter": AdapterSpec(bottleneck=6),
    "deep_prompt": DeepPromptSpec(tokens=3),
    "bitfit": BitFitSpec(),
    "head": HeadSpec(),
}


@dataclass(frozen=True)
class Geometry:
    """A block as the textbooks draw it."""

    width: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    gated: bool
    """Whether the feed-forward part has a gate (three maps instead of two)."""
    tokens: int
    blocks: int
    experts: int = 0
    """Experts to choose from, each as wide as ``inner``; 0 for a plain block."""
    visited: int = 1
    """Experts that a token visits."""

    @property
    def linear_weights(self) -> int:
        """Weights of the linear maps of a block that one token meets."""
        queries = self.width * self.heads * self.head_dim
        keys = self.width * self.kv_heads * self.head_dim
        maps = 3 if self.gated else 2
        router = self.width * self.experts
        return 2 * (queries + keys) + self.visited * maps * self.width * self.inner + router

    def linear_flops(self, extra_tokens: int = 0) -> int:
        """Of one sample's pass through a block's linear maps."""
        return 2 * (self.tokens + extra_tokens) * self.linear_weights

    def attention_flops(self, extra_tokens: int = 0) -> int:
        """Of queries times keys and probabilities times values."""
        return 4 * (self.tokens + extra_tokens) ** 2 * self.heads * self.head_dim

    def lora_flops(self, r: int) -> int:
        """Of rank-r updates of queries and values."""
        queries = self.width + self.heads * self.head_dim
        values = self.width + self.kv_heads * self.head_dim
        return 2 * self.tokens * r * (queries + values)


@dataclass(frozen=True)
class Small:
    """A family's small model."""

    config: Any
    architecture: str
    geometry: Geometry


_SIZES = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
}
_GROUPED = {**_SIZES, "num_key_value_heads": 2, "vocab_size": 61, "max_position_embeddings": 64}
_TEXT = {**_SIZES, "vocab_size": 61, "max_position_embeddings": 64}
_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def _geometry(**changes: Any) -> Geometry:
    usual: dict[str, Any] = {
        "width": 24,
        "inner": 40,
        "heads": 4,
        "kv_heads": 4,
        "head_dim": 6,
        "gated": False,
        "tokens": 32,
        "blocks": 3,
    }
    return Geometry(**{**usual, **changes})


def _grouped(kind: Any, architecture: str, **more: Any) -> Small:
    config = kind(**_GROUPED, **_SPECIAL, **more)
    geometry = _geometry(kv_heads=2, gated=True, head_dim=more.get("head_dim", 6))
    return Small(config, architecture, geometry)


FAMILIES: dict[str, Small] = {
    "vit": Small(
        transformers.ViTConfig(**_SIZES, image_size=16, patch_size=4),
        "ViTForImageClassification",
        _geometry(tokens=17),
    ),
    "bert": Small(transformers.BertConfig(**_TEXT), "BertForSequenceClassification", _geometry()),
    "gpt2": Small(
        transformers.GPT2Config(
            n_embd=24, n_layer=3, n_head=4, n_inner=40, vocab_size=61, n_positions=64, **_SPECIAL
        ),
        "GPT2LMHeadModel",
        _geometry(),
    ),
    "llama": _grouped(transformers.LlamaConfig, "LlamaForCausalLM"),
    "qwen2": _grouped(transformers.Qwen2Config, "Qwen2ForCausalLM"),
    "qwen3": _grouped(transformers.Qwen3Config, "Qwen3ForCausalLM", head_dim=8),
    "mixtral": Small(
        transformers.MixtralConfig(
            **_GROUPED, **_SPECIAL, num_local_experts=4, num_experts_per_tok=2
        ),
        "MixtralForCausalLM",
        _geometry(kv_heads=2, gated=True, experts=4, visited=2),
    ),
    "clip": Small(
        transformers.CLIPVisionConfig(**_SIZES, image_size=16, patch_size=4),
        "CLIPVisionModel",
        _geometry(tokens=17),
    ),
}


def write(config: Any, architecture: str, folder: Path, name: str) -> str:
    """Write a configuration file and return its path."""
    path = folder / f"{name}.json"
    if not path.exists():
        config.architectures = [architecture]
        config.to_json_file(path, use_diff=False)
    return str(path)


def spec_of(family: str, folder: Path, attention: Any = "sdpa") -> ModelSpec:
    """What to load for a family's small model."""
    small = FAMILIES[family]
    source = write(small.config, small.architecture, folder, family)
    return ModelSpec(source=source, attention=attention)


def on_meta(
    family: str, folder: Path, tunable: str = "full", attention: Any = "sdpa"
) -> FoundationModel:
    """A family's small model on the meta device."""
    return model_on_meta(spec_of(family, folder, attention), TUNABLES[tunable], 0)


def real(
    family: str, folder: Path, tunable: str = "full", attention: Any = "sdpa"
) -> FoundationModel:
    """A family's small model with weights."""
    model = load_model(spec_of(family, folder, attention))
    return attach(model, TUNABLES[tunable], seed=0)
