"""Tiny models that cannot be cut, by name."""

from __future__ import annotations

from typing import Any

from tests.models.tiny_parts import LM, WORDS, classifier, grouped, image

__all__ = ["REFUSED"]

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "rwkv": (
        "hand more than the hidden state",
        WORDS
        | {"model_type": "rwkv", "hidden_size": 32, "num_hidden_layers": 3, "context_length": 64},
    ),
    "zamba2": (
        "read the raw input",
        grouped(
            "zamba2",
            mamba_d_state=4,
            n_mamba_heads=8,
            mamba_headdim=8,
            mamba_ngroups=1,
            layers_block_type=["mamba", "hybrid", "mamba"],
            use_mem_rope=False,
        ),
    ),
    "gemma3n_text": (
        "read the raw input",
        grouped(
            "gemma3n_text",
            head_dim=8,
            vocab_size_per_layer_input=64,
            hidden_size_per_layer_input=8,
            num_kv_shared_layers=1,
            laurel_rank=4,
            altup_num_inputs=2,
            layer_types=["sliding_attention", "full_attention", "full_attention"],
            activation_sparsity_pattern=[0.0, 0.0, 0.0],
        ),
    ),
    "xlnet": (
        "not the batch",
        WORDS | {"model_type": "xlnet", "d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 48},
    ),
    "albert": (
        "share one block",
        classifier("albert", "AlbertForSequenceClassification", embedding_size=16),
    ),
    "squeezebert": (
        "do not run one after the other",
        classifier(
            "squeezebert",
            "SqueezeBertForSequenceClassification",
            embedding_size=32,
            q_groups=2,
            k_groups=2,
            v_groups=2,
            post_attention_groups=1,
            intermediate_groups=2,
            output_groups=2,
        ),
    ),
    "flaubert": (
        "two chains",
        WORDS
        | {
            "model_type": "flaubert",
            "architectures": ["FlaubertForSequenceClassification"],
            "emb_dim": 32,
            "n_layers": 3,
            "n_heads": 4,
            "max_position_embeddings": 64,
            "num_labels": 4,
        },
    ),
    "funnel": (
        "do not run one after the other",
        WORDS
        | {
            "model_type": "funnel",
            "architectures": ["FunnelForSequenceClassification"],
            "d_model": 32,
            "block_sizes": [1, 1],
            "n_head": 4,
            "d_head": 8,
            "d_inner": 48,
            "num_labels": 4,
        },
    ),
    "canine": (
        "two chains",
        {
            "model_type": "canine",
            "architectures": ["CanineForSequenceClassification"],
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 64,
            "num_labels": 4,
        },
    ),
    "poolformer": (
        "two chains",
        {
            "model_type": "poolformer",
            "hidden_sizes": [8, 16],
            "depths": [1, 1],
            "patch_sizes": [7, 3],
            "strides": [4, 2],
            "padding": [2, 1],
            "num_encoder_blocks": 2,
            "num_labels": 4,
            "image_size": 32,
        },
    ),
    "pvt_v2": (
        "between its blocks",
        {
            "model_type": "pvt_v2",
            "image_size": 32,
            "num_labels": 4,
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 1, 1],
        },
    ),
    "t5": (
        "encoder-decoder",
        WORDS
        | {
            "model_type": "t5",
            "d_model": 32,
            "num_layers": 2,
            "num_heads": 4,
            "d_ff": 48,
            "d_kv": 8,
        },
    ),
    "clip": (
        "two chains",
        {
            "model_type": "clip",
            "architectures": ["CLIPModel"],
            "vision_config": image("clip_vision_model"),
            "text_config": LM,
        },
    ),
}
"""Why each is refused (a part of the message), and its configuration."""
