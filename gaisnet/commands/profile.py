"""``gaisnet profile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaisnet import profiling
from gaisnet.options import common as opt
from gaisnet.options import model as whole
from gaisnet.options import profile as measured

if TYPE_CHECKING:
    from pathlib import Path

    from gaisnet.report import Session
    from gaisnet.schema.model import ModelSpec, TunableSpec
    from gaisnet.schema.profile import Profile

__all__ = ["profile"]


def profile(
    model: whole.ModelArgument = None,
    output: opt.Output = None,
    tunable: whole.Tunable = "lora",
    rank: whole.Rank = None,
    ranks: whole.Ranks = None,
    alpha: whole.Alpha = None,
    targets: whole.Targets = None,
    bottleneck: whole.Bottleneck = None,
    prompts: whole.PromptTokens = None,
    train_head: whole.HeadTuned = None,
    optimizer: measured.Optimizer = "adamw",
    task: whole.Task = None,
    num_labels: whole.Labels = None,
    dtype: whole.Dtype = "float32",
    attention: whole.Attention = "sdpa",
    random_weights: whole.RandomWeights = False,
    tokens: measured.Tokens = None,
    batch_sizes: measured.BatchSizes = "1,4",
    times: measured.Times = True,
    timing_budget: measured.TimingBudget = 180.0,
    threads: measured.Threads = 1,
    compute: measured.Compute = "auto",
    device_only: measured.DeviceOnly = False,
    model_only: measured.ModelOnly = False,
    list_presets: measured.ListPresets = False,
    as_device: measured.AsDevice = None,
    from_profile: measured.FromProfile = None,
    calibration: measured.Calibration = False,
    calibrate: measured.Calibrate = None,
    leakage: measured.Leakage = False,
    data: measured.Data = None,
    leakage_samples: measured.LeakageSamples = 128,
    compare: measured.Compare = None,
    listen: measured.Listen = None,
    link: measured.LinkTo = None,
    insecure: measured.Insecure = False,
    seed: opt.Seed = None,
    format: opt.Form = "text",
    quiet: opt.Quiet = False,
    force: opt.Force = False,
) -> None:
    """Measure what each layer of a model costs, and what this device can do."""
    from gaisnet.report import Session

    with Session(format, quiet=quiet) as session:
        profiling.check_extrapolation(model, from_profile, as_device, calibration, calibrate)
        other = (list_presets, compare, listen, link)
        profiling.check_one_asked(model, device_only, *other, from_profile)
        profiling.check_belonging(leakage, data, model, insecure, listen)
        target = profiling.prepare(output, force, as_device, calibrate)
        tuned = whole.tunable_spec(tunable, rank, alpha, targets, bottleneck, prompts, train_head)
        spec = _spec(model, task, num_labels, dtype, random_weights, seed, attention)
        asked = _settings(optimizer, batch_sizes, tokens, ranks, model_only, threads, compute, seed)
        asked |= {"times": times, "timing_budget_s": timing_budget}
        if any(other):
            _other(session, compare, listen, insecure, link, output, force)
        elif calibration and spec is not None:
            profiling.calibrate(session, spec, tuned, asked, output, force)
        else:
            made = _made(session, from_profile, spec, tuned, asked, (data, leakage_samples))
            profiling.deliver(session, profiling.as_device(made, *target), output, force)


def _spec(model: str | None, *named: Any) -> ModelSpec | None:
    return None if model is None else whole.model_spec(model, *named)


def _other(
    session: Session,
    compare: tuple[Path, Path] | None,
    listen: str | None,
    insecure: bool,
    link: str | None,
    output: Path | None,
    force: bool,
) -> None:
    """What is asked for beside a profile of a model or of this device."""
    if listen is not None:
        profiling.listen(session, listen, insecure)
    elif compare is not None:
        profiling.compare(session, compare, output, force)
    elif link is not None:
        profiling.link(session, link, output, force)
    else:
        profiling.show_presets(session)


def _made(
    session: Session,
    from_profile: Path | None,
    spec: ModelSpec | None,
    tuned: TunableSpec,
    asked: dict[str, Any],
    sample: tuple[Path | None, int],
) -> Profile:
    if from_profile is not None:
        return profiling.read_profile(from_profile)
    return profiling.measure(session, spec, tuned, asked, profiling.leakage_sample(spec, *sample))


def _settings(
    optimizer: str,
    batch_sizes: str,
    tokens: int | None,
    ranks: str | None,
    model_only: bool,
    threads: int,
    compute: str,
    seed: int | None,
) -> dict[str, Any]:
    """What the profiler takes beside the model."""
    return {
        "optimizer": optimizer,
        "batch_sizes": opt.numbers("--batch-sizes", batch_sizes),
        "tokens": tokens,
        "ranks": opt.numbers("--ranks", ranks),
        "measure_device": not model_only,
        "threads": threads,
        "device": None if compute == "auto" else compute,
        "seed": seed or 0,
    }
