"""Tiny text encoders and classifiers that are cut exactly, by name."""

from __future__ import annotations

from typing import Any

from tests.models.tiny_parts import WORDS, classifier, gpt, grouped

__all__ = ["ENCODERS"]

ENCODERS: dict[str, dict[str, Any]] = {
    "bert": classifier("bert", "BertForSequenceClassification"),
    "bert-mlm": classifier("bert", "BertForMaskedLM"),
    "roberta": classifier("roberta", "RobertaForSequenceClassification"),
    "roberta-mlm": classifier("roberta", "RobertaForMaskedLM"),
    "xlm-roberta": classifier("xlm-roberta", "XLMRobertaForSequenceClassification"),
    "camembert": classifier("camembert", "CamembertForSequenceClassification"),
    "distilbert": WORDS
    | {
        "model_type": "distilbert",
        "architectures": ["DistilBertForSequenceClassification"],
        "dim": 32,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 48,
        "max_position_embeddings": 64,
        "num_labels": 4,
    },
    "electra": classifier("electra", "ElectraForSequenceClassification", embedding_size=16),
    "electra-mlm": classifier("electra", "ElectraForMaskedLM", embedding_size=16),
    "deberta": classifier(
        "deberta",
        "DebertaForSequenceClassification",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        pooler_hidden_size=32,
    ),
    "deberta-v2": classifier(
        "deberta-v2",
        "DebertaV2ForSequenceClassification",
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=8,
        pooler_hidden_size=32,
        norm_rel_ebd="layer_norm",
    ),
    "mpnet": classifier("mpnet", "MPNetForSequenceClassification"),
    "modernbert": classifier(
        "modernbert",
        "ModernBertForSequenceClassification",
        cls_token_id=1,
        sep_token_id=2,
        global_attn_every_n_layers=2,
        local_attention=6,
    ),
    "modernbert-mlm": classifier(
        "modernbert",
        "ModernBertForMaskedLM",
        cls_token_id=1,
        sep_token_id=2,
        global_attn_every_n_layers=2,
        local_attention=6,
    ),
    "megatron-bert": classifier("megatron-bert", "MegatronBertForSequenceClassification"),
    "mobilebert": classifier(
        "mobilebert",
        "MobileBertForSequenceClassification",
        embedding_size=16,
        intra_bottleneck_size=16,
        true_hidden_size=16,
    ),
    "convbert": classifier(
        "convbert", "ConvBertForSequenceClassification", embedding_size=16, conv_kernel_size=3
    ),
    "ernie": classifier("ernie", "ErnieForSequenceClassification"),
    "layoutlm": classifier("layoutlm", "LayoutLMForSequenceClassification"),
    "fnet": classifier("fnet", "FNetForSequenceClassification"),
    "nystromformer": classifier("nystromformer", "NystromformerForSequenceClassification"),
    "rembert": classifier(
        "rembert",
        "RemBertForSequenceClassification",
        input_embedding_size=16,
        output_embedding_size=16,
    ),
    "roformer": classifier("roformer", "RoFormerForSequenceClassification", embedding_size=16),
    "xmod": classifier(
        "xmod",
        "XmodForSequenceClassification",
        languages=["en"],
        default_language="en",
        adapter_reduction_factor=2,
    ),
    "esm": classifier("esm", "EsmForSequenceClassification", mask_token_id=3),
    "eurobert": classifier("eurobert", "EuroBertForSequenceClassification", num_key_value_heads=2),
    "gpt2-classifier": gpt("gpt2", architectures=["GPT2ForSequenceClassification"], num_labels=4),
    "llama-classifier": grouped(
        "llama", architectures=["LlamaForSequenceClassification"], num_labels=4
    ),
    "qwen2-classifier": grouped(
        "qwen2", architectures=["Qwen2ForSequenceClassification"], num_labels=4
    ),
    "qwen3-classifier": grouped(
        "qwen3", architectures=["Qwen3ForSequenceClassification"], num_labels=4, head_dim=8
    ),
}
