"""Which model, and which of its modules are tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaisnet.errors import UsageError
from gaisnet.schema.limits import MAX_LABELS, MAX_WIDTH

if TYPE_CHECKING:
    from gaisnet.schema.model import ModelSpec, TunableSpec

__all__ = [
    "Alpha",
    "Attention",
    "Bottleneck",
    "Dtype",
    "HeadTuned",
    "Labels",
    "ModelArgument",
    "ModelOption",
    "PromptTokens",
    "RandomWeights",
    "Rank",
    "Ranks",
    "Targets",
    "Task",
    "Tunable",
    "model_spec",
    "tunable_spec",
]

Option, Argument = typer.Option, typer.Argument

ModelArgument = Annotated[
    str | None, Argument(metavar="MODEL", help="Folder, hub name, or config file (*.json).")
]
ModelOption = Annotated[
    str | None, Option("--model", help="Prove the splits of this model, at every cut.")
]
TaskName = Literal["causal_lm", "masked_lm", "sequence_classification", "image_classification",
                   "audio_classification", "features"]  # fmt: skip
Task = Annotated[TaskName | None, Option("--task", help="What the head answers.")]
Labels = Annotated[
    int | None, Option("--num-labels", min=1, max=MAX_LABELS, help="Classes of the head.")
]
DtypeName = Literal["float32", "bfloat16", "float16"]
Dtype = Annotated[DtypeName, Option("--dtype", help="Type of the weights.")]
AttentionName = Literal["sdpa", "eager"]
Attention = Annotated[AttentionName, Option("--attention", help="Which code attends.")]
RandomWeights = Annotated[bool, Option("--random-weights", help="Do not load the weights.")]
Kind = Literal["lora", "adapter", "deep_prompt", "bitfit", "head", "full"]
Tunable = Annotated[Kind, Option("--tunable", help="Which modules are tuned.")]
Rank = Annotated[int | None, Option("--rank", min=1, max=MAX_WIDTH, help="lora: rank.")]
Ranks = Annotated[
    str | None,
    Option("--ranks", help="lora: other ranks to count, by commas: `plan --search` may use them."),
]
Alpha = Annotated[
    int | None, Option("--alpha", min=1, max=MAX_WIDTH, help="lora: scale, times the rank.")
]
Targets = Annotated[
    str | None, Option("--targets", help="lora: names of the modules, by commas; else the usual.")
]
Bottleneck = Annotated[
    int | None, Option("--bottleneck", min=1, max=MAX_WIDTH, help="adapter: width.")
]
PromptTokens = Annotated[
    int | None,
    Option("--prompt-tokens", min=1, max=MAX_WIDTH, help="deep_prompt: tokens of each block."),
]
HeadTuned = Annotated[
    bool | None,
    Option("--train-head/--freeze-head", help="Whether a classification head is tuned too."),
]


def model_spec(
    source: str,
    task: TaskName | None = None,
    num_labels: int | None = None,
    dtype: DtypeName = "float32",
    random_weights: bool = False,
    seed: int | None = None,
    attention: AttentionName = "sdpa",
) -> ModelSpec:
    """The model that the options name.

    Raises:
        UsageError: The source is empty.
    """
    from gaisnet.schema.model import ModelSpec

    if not source:
        raise UsageError("the model's name is empty")
    return ModelSpec(
        source=source,
        task=task,
        num_labels=num_labels,
        dtype=dtype,
        weights="random" if random_weights else "load",
        seed=seed or 0,
        attention=attention,
    )


_FLAGS = {
    "r": "--rank",
    "alpha": "--alpha",
    "targets": "--targets",
    "bottleneck": "--bottleneck",
    "tokens": "--prompt-tokens",
    "train_head": "--train-head/--freeze-head",
}


def tunable_spec(
    kind: Kind,
    rank: int | None = None,
    alpha: int | None = None,
    targets: str | None = None,
    bottleneck: int | None = None,
    prompt_tokens: int | None = None,
    train_head: bool | None = None,
) -> TunableSpec:
    """The tunable modules that the options name.

    Raises:
        UsageError: An option belongs to another kind of module.
    """
    names = None if targets is None else tuple(name.strip() for name in targets.split(","))
    values: dict[str, Any] = {"r": rank, "alpha": alpha, "targets": names}
    values |= {"bottleneck": bottleneck, "tokens": prompt_tokens, "train_head": train_head}
    return _validated(kind, {name: value for name, value in values.items() if value is not None})


def _validated(kind: Kind, given: dict[str, Any]) -> TunableSpec:
    from pydantic import TypeAdapter, ValidationError

    from gaisnet.schema.model import TunableSpec

    adapter: TypeAdapter[TunableSpec] = TypeAdapter(TunableSpec)
    try:
        return adapter.validate_python({"kind": kind, **given})
    except ValidationError as error:
        wrong = {str(problem["loc"][-1]) for problem in error.errors()}
        flags = ", ".join(_FLAGS.get(name, name) for name in sorted(wrong))
        raise UsageError(f"--tunable {kind} does not go with {flags}") from error
