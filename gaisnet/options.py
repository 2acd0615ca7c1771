"""The commands' options: how they are written, and what they mean to the rooms below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gaisnet.errors import UsageError

if TYPE_CHECKING:
    from gaisnet.schema.model import ModelSpec, TunableSpec
    from gaisnet.schema.plan import Slack

__all__ = [
    "Address",
    "Alpha",
    "AsDevice",
    "Attention",
    "BatchSizes",
    "Bottleneck",
    "BytesWeight",
    "Calibrate",
    "Calibration",
    "Clusters",
    "Compare",
    "Data",
    "DeviceOnly",
    "Diff",
    "Dtype",
    "Engine",
    "Explain",
    "Force",
    "Form",
    "FromProfile",
    "Gap",
    "HeadTuned",
    "Insecure",
    "JobFile",
    "Labels",
    "Leakage",
    "LeakageSamples",
    "LinkTo",
    "ListPresets",
    "Listen",
    "Lost",
    "ModelArgument",
    "ModelOnly",
    "ModelOption",
    "Objective",
    "Optimizer",
    "Output",
    "PageFile",
    "Patience",
    "PlanFile",
    "PromptTokens",
    "Quiet",
    "RandomWeights",
    "Rank",
    "Ranks",
    "Replan",
    "Resume",
    "Rounds",
    "RunFolder",
    "Scheme",
    "Seed",
    "SlackText",
    "Subject",
    "Survive",
    "Targets",
    "Task",
    "Threads",
    "Times",
    "Tokens",
    "Tunable",
    "Version",
    "flag",
    "model_spec",
    "numbers",
    "tunable_spec",
]

Option, Argument = typer.Option, typer.Argument

# Of every command.
Form = Annotated[
    Literal["text", "json"],
    Option("--format", help="What standard output gets: tables, or one JSON document."),
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="No tables and no progress.")]
Output = Annotated[Path | None, Option("--output", "-o", help="File to write.")]
Force = Annotated[bool, Option("--force", help="Overwrite the file if it exists.")]
Seed = Annotated[int | None, Option("--seed", min=0, help="Seed of everything random.")]

# Which model, and which of its modules are tuned.
ModelArgument = Annotated[
    str | None, Argument(metavar="MODEL", help="Folder, hub name, or config file (*.json).")
]
ModelOption = Annotated[
    str | None, Option("--model", help="Prove the splits of this model, at every cut.")
]
TaskName = Literal["causal_lm", "masked_lm", "sequence_classification", "image_classification",
                   "audio_classification", "features"]  # fmt: skip
Task = Annotated[TaskName | None, Option("--task", help="What the head answers.")]
Labels = Annotated[int | None, Option("--num-labels", min=1, help="Classes of the head.")]
DtypeName = Literal["float32", "bfloat16", "float16"]
Dtype = Annotated[DtypeName, Option("--dtype", help="Type of the weights.")]
AttentionName = Literal["sdpa", "eager"]
Attention = Annotated[AttentionName, Option("--attention", help="Which code attends.")]
RandomWeights = Annotated[bool, Option("--random-weights", help="Do not load the weights.")]
Kind = Literal["lora", "adapter", "deep_prompt", "bitfit", "head", "full"]
Tunable = Annotated[Kind, Option("--tunable", help="Which modules are tuned.")]
Rank = Annotated[int | None, Option("--rank", min=1, help="lora: rank.")]
Ranks = Annotated[
    str | None,
    Option("--ranks", help="lora: other ranks to count, by commas: `plan --search` may use them."),
]
Alpha = Annotated[int | None, Option("--alpha", min=1, help="lora: scale, times the rank.")]
Targets = Annotated[
    str | None, Option("--targets", help="lora: names of the modules, by commas; else the usual.")
]
Bottleneck = Annotated[int | None, Option("--bottleneck", min=1, help="adapter: width.")]
PromptTokens = Annotated[
    int | None, Option("--prompt-tokens", min=1, help="deep_prompt: tokens of each block.")
]
HeadTuned = Annotated[
    bool | None,
    Option("--train-head/--freeze-head", help="Whether a classification head is tuned too."),
]

# Of profile.
Optimizer = Annotated[
    Literal["adamw", "sgd"], Option("--optimizer", help="What updates the tuned modules.")
]
Tokens = Annotated[int | None, Option("--tokens", min=1, help="Sequence length.")]
BatchSizes = Annotated[str, Option("--batch-sizes", help="Batch sizes to time, by commas.")]
Times = Annotated[bool, Option("--times/--no-times", help="Time the model, or only count.")]
Threads = Annotated[int, Option("--threads", min=1, help="CPU threads to measure with.")]
DeviceOnly = Annotated[bool, Option("--device-only", help="Measure this device, and no model.")]
ModelOnly = Annotated[bool, Option("--model-only", help="Do not measure this device.")]
ListPresets = Annotated[bool, Option("--list-presets", help="Show the catalogue of devices.")]
AsDevice = Annotated[
    str | None,
    Option(
        "--as",
        metavar="DEVICE",
        help="Extrapolate the times to this device: a preset, or a profile made on it.",
    ),
]
FromProfile = Annotated[
    Path | None,
    Option("--from", metavar="PROFILE", help="With --as: a profile made before; measure nothing."),
]
Calibration = Annotated[
    bool, Option("--calibration", help="Only time one whole step here, for --calibrate elsewhere.")
]
Calibrate = Annotated[
    Path | None,
    Option("--calibrate", metavar="STEP", help="With --as: a step timed there by --calibration."),
]
Leakage = Annotated[
    bool, Option("--leakage", help="Attack every cut, on the samples of --data: what leaks there.")
]
Data = Annotated[
    Path | None, Option("--data", help="Safetensors file with the model's inputs and labels.")
]
LeakageSamples = Annotated[
    int, Option("--leakage-samples", min=8, help="How many of its samples to use at most.")
]
Compare = Annotated[
    tuple[Path, Path] | None,
    Option("--compare", metavar="A B", help="Show two profiles side by side; measure nothing."),
]
Listen = Annotated[
    str | None,
    Option("--listen", metavar="HOST:PORT", help="Be the other end of --link, until Ctrl-C."),
]
LinkTo = Annotated[
    str | None,
    Option("--link", metavar="HOST:PORT", help="Measure the link to where --listen runs."),
]
Insecure = Annotated[
    bool, Option("--insecure", help="--listen to other machines, without authentication.")
]

# Of plan.
JobFile = Annotated[Path | None, Argument(metavar="JOB", help="The job file.")]
Scheme = Annotated[
    Literal["hfsl", "fl", "sl", "sfl-v1", "sfl-v2", "central"] | None,
    Option("--scheme", help="Instead of the job's."),
]
Clusters = Annotated[
    int | None, Option("--clusters", min=1, help="How many; else the job's, or the best.")
]
Objective = Annotated[
    Literal["latency", "period", "makespan", "energy"] | None,
    Option("--objective", help="What a split minimises; else the job's."),
]
Gap = Annotated[
    float | None, Option("--gap", min=0, help="Relative gap that must be proven, or exit code 13.")
]
SlackText = Annotated[
    str | None,
    Option(
        "--slack",
        metavar="PART",
        help="Keep this part free: 0.2 of memory and time, or memory=0.1,time=0.2.",
    ),
]
Survive = Annotated[
    int | None,
    Option("--survive", min=0, max=1, help="1: a re-plan for each single loss, or exit code 12."),
]
Explain = Annotated[
    bool,
    Option("--explain", help="Solve again for runners-up, contributions and upgrades."),
]
Diff = Annotated[
    tuple[Path, Path] | None,
    Option("--diff", metavar="PLAN PLAN", help="Show what differs between two plans."),
]
Replan = Annotated[
    Path | None,
    Option("--replan", metavar="PLAN", help="Go on with this plan without devices --lost."),
]
Lost = Annotated[
    str | None, Option("--lost", metavar="DEVICES", help="Devices that are gone: a,b,c.")
]
BytesWeight = Annotated[
    float | None,
    Option(
        "--bytes-weight",
        min=0,
        help="Of a re-plan: what moving the whole model once counts like, in steps.",
    ),
]

# Of execute and report.
PlanFile = Annotated[Path | None, Argument(metavar="PLAN", help="The plan file.")]
RunFolder = Annotated[
    Path | None, Option("--output", "-o", help="The run's folder; else NAME-run beside the plan.")
]
Resume = Annotated[
    Path | None, Option("--resume", metavar="RUN", help="Go on with the run in this folder.")
]
Engine = Annotated[
    Literal["local", "ray"],
    Option("--engine", help="local: all in this process; ray: a process on every device."),
]
Address = Annotated[
    str | None,
    Option("--address", metavar="HOST:PORT", help="ray: the head of the devices' cluster."),
]
Patience = Annotated[
    float,
    Option("--patience", min=0.1, help="ray: factor of the times after which a device is lost."),
]
Rounds = Annotated[int | None, Option("--rounds", min=1, help="How many; else the job's.")]
Subject = Annotated[
    Path, Argument(metavar="PROFILE|PLAN|RUN", help="A profile, a plan, or a run's folder.")
]
PageFile = Annotated[Path | None, Option("--output", "-o", help="HTML file to write.")]


def _print_version(asked: bool) -> None:
    if asked:
        from gaisnet import __version__

        typer.echo(f"gaisnet {__version__}")
        raise typer.Exit


Version = Annotated[
    bool, Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
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


def slack(text: str | None) -> Slack | None:
    """Margins from ``0.2`` (of memory and time) or ``memory=0.1,time=0.2``.

    Raises:
        UsageError: It is neither, or a part is not from 0 to below 1.
    """
    if text is None:
        return None
    from gaisnet.schema.plan import Slack

    parts = [part.strip().partition("=") for part in text.split(",")]
    named = {name: value for name, sign, value in parts if sign}
    if len(parts) == 1 and not named:
        named = dict.fromkeys(("memory", "time"), text.strip())
    try:
        values = {name: float(value) for name, value in named.items()}
    except ValueError:
        values = {}
    known = len(values) == len(parts) or len(parts) == 1
    if not values or not known or not values.keys() <= {"memory", "time"}:
        raise UsageError(f"--slack {text!r} names no parts", hint="such as 0.2 or memory=0.1")
    if not all(0.0 <= value < 1.0 for value in values.values()):
        raise UsageError(f"--slack {text!r}: parts are from 0 to below 1")
    return Slack(**values)


def flag(name: str) -> str:
    """The option of a setting of the planner's."""
    return {"time_limit_s": "--time-limit"}.get(name, f"--{name.replace('_', '-')}")


def names(text: str | None) -> tuple[str, ...]:
    """Names from ``a,b,c``."""
    parts = (text or "").split(",")
    return tuple(part.strip() for part in parts if part.strip())


def numbers(flag: str, text: str | None) -> tuple[int, ...]:
    """Numbers from ``1,4,16``, ascending; none without a text.

    Raises:
        UsageError: It is no list of positive whole numbers.
    """
    sizes = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(size.isdecimal() and 0 < int(size) < 2**31 for size in sizes):
        raise UsageError(f"{flag} {text!r} is no list of numbers", hint="such as 1,4,16")
    return tuple(sorted({int(size) for size in sizes}))
