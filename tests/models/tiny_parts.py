"""The parts that the tiny configurations share."""

from __future__ import annotations

from typing import Any

__all__ = ["BODY", "EXPERTS", "LM", "WORDS", "classifier", "gpt", "grouped", "image", "lm"]

WORDS = {"vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BODY = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
LM = BODY | WORDS | {"max_position_embeddings": 64}
EXPERTS = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}
_GPT = {"n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 64}
_ENCODER = LM | {"type_vocab_size": 2, "num_labels": 4}
_IMAGES = BODY | {"image_size": 16, "patch_size": 4, "num_labels": 4}


def lm(model_type: str, **more: Any) -> dict[str, Any]:
    """A language model."""
    return {"model_type": model_type, **LM, **more}


def grouped(model_type: str, **more: Any) -> dict[str, Any]:
    """A language model with two heads of keys and values."""
    return lm(model_type, num_key_value_heads=2, **more)


def gpt(model_type: str, **more: Any) -> dict[str, Any]:
    """A language model whose config uses GPT's names."""
    return {"model_type": model_type, **_GPT, **WORDS, **more}


def classifier(model_type: str, architecture: str, **more: Any) -> dict[str, Any]:
    """A text encoder with a head."""
    return {"model_type": model_type, "architectures": [architecture], **_ENCODER, **more}


def image(model_type: str, **more: Any) -> dict[str, Any]:
    """A model over small images, with four classes."""
    return {"model_type": model_type, **_IMAGES, **more}
