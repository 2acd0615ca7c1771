"""``gaisnet profile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaisnet import profiling
from gaisnet.options import common as opt
from gaisnet.options import model as whole
from gaisnet.options import profile as measured
from gaisnet.options import profile_groups as groups
from gaisnet.schema.limits import MAX_WIDTH

if TYPE_CHECKING:
    from gaisnet.schema.model import ModelSpec

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
        other = groups.Other(list_presets, compare, listen, insecure, link, output)
        carry = groups.Carry(from_profile, as_device, calibrate, calibration)
        sample = groups.Sample(leakage, data, leakage_samples)
        groups.check_asked(model, device_only, other, carry, sample)
        carried = profiling.prepare(output, force, carry)
        tuned = whole.tunable_spec(tunable, rank, alpha, targets, bottleneck, prompts, train_head)
        spec = _spec(model, task, num_labels, dtype, random_weights, seed, attention)
        asked = _settings(optimizer, batch_sizes, tokens, ranks, model_only, seed)
        asked |= _timing(times, timing_budget, threads, compute)
        if other.asked:
            profiling.show_other(session, other, force)
        elif calibration and spec is not None:
            profiling.calibrate(session, spec, tuned, asked, output, force)
        else:
            profiling.profile(session, spec, tuned, asked, carried, sample, output, force)


def _spec(model: str | None, *named: Any) -> ModelSpec | None:
    return None if model is None else whole.model_spec(model, *named)


def _settings(
    optimizer: str,
    batch_sizes: str,
    tokens: int | None,
    ranks: str | None,
    model_only: bool,
    seed: int | None,
) -> dict[str, Any]:
    """What the profiler takes beside the model."""
    return {
        "optimizer": optimizer,
        "batch_sizes": opt.numbers("--batch-sizes", batch_sizes),
        "tokens": tokens,
        "ranks": opt.numbers("--ranks", ranks, most=MAX_WIDTH),
        "measure_device": not model_only,
        "seed": seed or 0,
    }


def _timing(times: bool, budget_s: float, threads: int, compute: str) -> dict[str, Any]:
    """What it times on, and for how long."""
    device = None if compute == "auto" else compute
    return {"times": times, "timing_budget_s": budget_s, "threads": threads, "device": device}
