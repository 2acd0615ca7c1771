"""Which foundation model, and which of its modules are tuned."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gaisnet.schema.base import Count, Labels, PositiveCount, Strict, Width

__all__ = [
    "AdapterSpec",
    "BitFitSpec",
    "DeepPromptSpec",
    "FullSpec",
    "HeadSpec",
    "LoraSpec",
    "ModelSpec",
    "Task",
    "TunableSpec",
]

Task = Literal[
    "causal_lm",
    "masked_lm",
    "sequence_classification",
    "image_classification",
    "audio_classification",
    "features",
]


class ModelSpec(Strict):
    """A foundation model that ``transformers`` can build."""

    source: str = Field(min_length=1)
    """A folder with ``config.json`` (and weights), a hub name, or a config file (``*.json``)."""
    task: Task | None = None
    """What the model's head answers; by default what the config's ``architectures`` say."""
    num_labels: Labels | None = None
    """Classes of the head, for the classification tasks; by default the config's."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    weights: Literal["load", "random"] = "load"
    """``random`` initialises from ``seed``; a bare config file is always random."""
    seed: Count = 0
    """Seed of random weights, of a new head and of new tunable modules."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type of the weights."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Which attention kernel of ``transformers`` is used."""


class _Tunable(Strict):
    train_head: bool = True
    """Whether a classification head is tuned (and averaged) as well; never a language model's."""


class LoraSpec(_Tunable):
    """Low-rank updates of linear maps (Hu et al., arXiv 2106.09685), by peft."""

    kind: Literal["lora"] = "lora"
    r: Width = 8
    """Rank of the update."""
    alpha: PositiveCount = 16
    """Scale: the update is ``alpha / r · B A``."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: tuple[str, ...] | None = None
    """Suffixes of the module names to adapt; by default attention's queries and values."""


class AdapterSpec(_Tunable):
    """Bottleneck adapters after each block (Houlsby et al., arXiv 1902.00751; Pfeiffer's place)."""

    kind: Literal["adapter"] = "adapter"
    bottleneck: Width = 16
    """Width of the adapter between its two projections."""


class DeepPromptSpec(_Tunable):
    """Learnt tokens before the input of every block (VPT-deep, arXiv 2203.12119; GaisNet)."""

    kind: Literal["deep_prompt"] = "deep_prompt"
    tokens: Width = 8
    """Prompt tokens per block."""


class BitFitSpec(_Tunable):
    """All biases (Ben Zaken et al., arXiv 2106.10199)."""

    kind: Literal["bitfit"] = "bitfit"


class HeadSpec(Strict):
    """The head alone (linear probing)."""

    kind: Literal["head"] = "head"


class FullSpec(Strict):
    """Every parameter."""

    kind: Literal["full"] = "full"


TunableSpec = Annotated[
    LoraSpec | AdapterSpec | DeepPromptSpec | BitFitSpec | HeadSpec | FullSpec,
    Field(discriminator="kind"),
]
