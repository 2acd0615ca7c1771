"""``make experiments``: accuracies over seeds and schemes, written to ``docs/experiments.md``.

Run it as ``python -m examples.digits.experiments``; it takes some minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
import transformers
from rich.console import Console

from examples.digits.files import TUNABLE, Setting, write_job_folder
from examples.digits.fleet import END_DEVICES
from examples.digits.outcome import Outcome, read_outcome
from examples.digits.pretrain import RECIPE, Recipe
from gaisnet.executor.run import execute
from gaisnet.planner import plan
from gaisnet.profiler import make_profile
from gaisnet.schema.files import canonical_json, write_atomic
from gaisnet.schema.model import LoraSpec, ModelSpec

__all__ = ["Row", "main", "measure"]

ALPHAS = (math.inf, 1.0, 0.1)
SEEDS = (0, 1, 2, 3, 4)
GROUPINGS: dict[str, dict[str, Any]] = {
    "mix": {"policy": "mix"},
    "similar": {"policy": "similar"},
    "labels ignored": {"label_weight": 0.0},
}
"""Ways to cluster the owners: labels balanced, like with like, by speed and distance only."""
_USUAL = {"policy": "mix", "label_weight": 1.0}
CLUSTERS = (4,)
SCHEMES = ("hfsl", "fl", "sl", "sfl-v1", "sfl-v2", "central")
COMMAND = "make experiments"
MEBIBYTE = 2**20

DOCUMENT = """\
# Experiments

Written by `{command}` (`python -m examples.digits.experiments`); do not edit.

The demo's example: a ViT of a quarter of a million parameters that has learnt letters is tuned
on scikit-learn's handwritten digits, which eight unequal devices at two sites own. LoRA of rank 8
on attention and feed-forward layers, and a new head; {rounds} rounds of {local_steps} steps of
each owner, {batch_size} samples a step (8 steps a round where owners are merged), AdamW. Accuracy
is on 450 held-out digits, after the last round.

## Skewed data

Each class is dealt to the devices in proportions drawn from Dirichlet(α). The median of five
seeds, and each of them; a seed decides the held-out digits, the deal, the new head and the order.
`sequential`: the owners of a site take turns. `merge`: their features are merged to one batch.

| owners | skew | median | seeds 0 to 4 |
|---|---|---:|---|
{skews}

## Clustering

What the policy of clustering does to accuracy: α = 0.1, five seeds, owners of a cluster take
turns, and all devices have all their memory, so that any may be clustered with any other. `mix`:
the labels of each cluster like those of the fleet; `similar`: like with like; `labels ignored`:
by speed and distance only. Distance: the labels of a cluster from the fleet's, total variation,
mean over clusters and seeds.

| clusters | policy | distance | median | seeds 0 to 4 |
|---|---|---:|---:|---|
{clusterings}

{finding}

## Schemes

Every scheme is a plan for the same executor. All work through the same number of samples in a
round; α = 0.1, seed 0. `hfsl` runs on the devices' scaled memory of the demo (1 to 3.5 MiB); the
others are given all the memory that the devices really have, since `fl` needs the whole model on
every device, and the others need a server that holds all that lies between the owners' layers.
Memory is what tuning and answering take on the end device and on the server that need most; sent
is tensor data over all links in all rounds (`central`: with the raw data, which it collects); a
round's time is the fleet's, on the virtual clock, by counts and the devices' figures alone. The
demo's is longer, since it times layers: these are so small that their FLOPs are the least of it.

| scheme | accuracy | end device, MiB | server, MiB | sent, MiB | a round, s |
|---|---:|---:|---:|---:|---:|
{schemes}

{versions}; one thread.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """What one run gave."""

    setting: Setting
    accuracy: float
    """On all held-out digits, after the last round."""
    end_device_bytes: int
    """Memory of the end device that needs most."""
    server_bytes: int
    """The same among edge servers and the cloud."""
    sent_bytes: int
    """Tensor data over all links in all rounds."""
    round_s: float
    """On the fleet's virtual clock."""
    label_distance: float
    """Of a cluster's labels from the fleet's, total variation; mean over clusters."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run everything and write the tables; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits.experiments")
    parser.add_argument("--output", type=Path, default=Path("docs/experiments.md"))
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    skews = [_told(console, s) for s in _skew_settings()]
    clusterings = [_told(console, s) for s in _clustering_settings()]
    schemes = [_told(console, s) for s in _scheme_settings()]
    write_atomic(options.output, _document(skews, clusterings, schemes), force=True)
    console.print(f"written to {options.output}")
    return 0


def measure(
    setting: Setting, folder: Path, recipe: Recipe = RECIPE, cache: Path | None = None
) -> Row:
    """Profile, plan and execute one setting in ``folder``, as the demo's commands do."""
    write_job_folder(folder, setting, recipe, cache)
    tuned = LoraSpec(targets=tuple(TUNABLE["targets"]))
    source = ModelSpec(source=str(folder / "model"), seed=setting.seed)
    profile = make_profile(source, tuned, times=False, measure_device=False)
    write_atomic(folder / "profile.json", canonical_json(profile))
    planned = plan(folder / "job.yaml", output=folder / "plan.json")
    write_atomic(folder / "plan.json", canonical_json(planned))
    execute(folder / "plan.json", run_dir=folder / "run")
    return _row(setting, read_outcome(folder, folder / "run"))


def _row(setting: Setting, outcome: Outcome) -> Row:
    last = outcome.rounds[-1]
    assert last.eval_accuracy is not None
    ends = {device.id for device in outcome.fleet.devices if device.tier == "end"}
    needs: dict[bool, list[int]] = {True: [0], False: [0]}
    for device in outcome.plan.predictions.devices:
        needs[device.device in ends].append(device.memory_bytes)
    return Row(
        setting=setting,
        accuracy=last.eval_accuracy,
        end_device_bytes=max(needs[True]),
        server_bytes=max(needs[False]),
        sent_bytes=sum(link.payload_bytes for r in outcome.rounds for link in r.traffic),
        round_s=last.virtual_s,
        label_distance=_label_distance(outcome),
    )


def _label_distance(outcome: Outcome) -> float:
    counts = {
        device.id: np.array(device.data.label_histogram, dtype=np.float64)
        for device in outcome.fleet.devices
        if device.data is not None and device.data.label_histogram is not None
    }
    everything = sum(counts.values())
    # A server that has none of its own has been given all of them.
    clusters = [
        sum(counts.get(owner.device, everything) for owner in cluster.owners)
        for cluster in outcome.plan.clusters
    ]
    apart = [np.abs(c / c.sum() - everything / everything.sum()).sum() / 2 for c in clusters]
    return float(np.mean(apart))


def _told(console: Console, setting: Setting) -> Row:
    with tempfile.TemporaryDirectory() as scratch:
        row = measure(setting, Path(scratch) / "run")
    console.print(
        f"{setting.scheme:8} {setting.intra:10} alpha {setting.alpha:<4g} seed {setting.seed}: "
        f"{row.accuracy:.1%}"
    )
    return row


def _skew_settings() -> list[Setting]:
    """The demo's setting over skews and seeds, and with the owners of a site merged."""
    merged: dict[str, Any] = {"intra": "merge", "local_steps": 8, "memory": "scaled-for-merging"}
    return [
        dataclasses.replace(_last_only(), alpha=alpha, seed=seed, **changes)
        for changes in ({}, merged)
        for alpha in ALPHAS
        for seed in SEEDS
    ]


def _clustering_settings() -> list[Setting]:
    """Any owner may be with any other, since memory is no matter."""
    return [
        dataclasses.replace(
            _last_only(), memory="ample", clusters=clusters, seed=seed, **GROUPINGS[grouping]
        )
        for clusters in CLUSTERS
        for grouping in GROUPINGS
        for seed in SEEDS
    ]


def _scheme_settings() -> list[Setting]:
    """The other schemes need more memory than the demo's devices have.

    Where one machine has all the data, it takes the steps of all devices.
    """
    steps = _last_only().local_steps
    return [
        dataclasses.replace(
            _last_only(),
            scheme=scheme,
            memory="scaled" if scheme == "hfsl" else "ample",
            local_steps=steps * len(END_DEVICES) if scheme == "central" else steps,
        )
        for scheme in SCHEMES
    ]


def _last_only() -> Setting:
    """Evaluated after the last round only."""
    return Setting(eval_every=Setting().rounds)


def _document(skews: Sequence[Row], clusterings: Sequence[Row], schemes: Sequence[Row]) -> str:
    settings, packages = Setting(), ("gaisnet", "torch", "transformers", "peft", "scikit-learn")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return DOCUMENT.format(
        command=COMMAND,
        rounds=settings.rounds,
        local_steps=settings.local_steps,
        batch_size=settings.batch_size,
        skews="\n".join(_skew_lines(skews)),
        clusterings="\n".join(_clustering_lines(clusterings)),
        finding=_finding(clusterings),
        schemes="\n".join(map(_scheme_line, schemes)),
        versions=versions,
    )


def _skew_lines(rows: Sequence[Row]) -> list[str]:
    lines = []
    for intra in ("sequential", "merge"):
        for alpha in ALPHAS:
            found = [r for r in rows if (r.setting.intra, r.setting.alpha) == (intra, alpha)]
            each = " ".join(f"{row.accuracy:.1%}" for row in found)
            skew = "even (IID)" if math.isinf(alpha) else f"α = {alpha:g}"
            middle = median(row.accuracy for row in found)
            lines.append(f"| {intra} | {skew} | **{middle:.1%}** | {each} |")
    return lines


def _grouped(rows: Sequence[Row], clusters: int, grouping: str) -> list[Row]:
    return [
        row
        for row in rows
        if row.setting.clusters == clusters
        and all(getattr(row.setting, k) == v for k, v in (_USUAL | GROUPINGS[grouping]).items())
    ]


def _clustering_lines(rows: Sequence[Row]) -> list[str]:
    lines = []
    for clusters in CLUSTERS:
        for grouping in GROUPINGS:
            found = _grouped(rows, clusters, grouping)
            each = " ".join(f"{row.accuracy:.1%}" for row in found)
            apart = mean(row.label_distance for row in found)
            middle = median(row.accuracy for row in found)
            lines.append(f"| {clusters} | {grouping} | {apart:.2f} | **{middle:.1%}** | {each} |")
    return lines


def _finding(rows: Sequence[Row]) -> str:
    """In how many pairs of equal seeds and numbers of clusters mixing did better than likeness."""
    pairs = [
        (a.accuracy, b.accuracy)
        for n in CLUSTERS
        for a, b in zip(_grouped(rows, n, "mix"), _grouped(rows, n, "similar"), strict=True)
    ]
    gain = mean(a - b for a, b in pairs)
    return (
        f"`mix` is better than `similar` for {sum(a > b for a, b in pairs)} of {len(pairs)} seeds "
        f"and worse for {sum(a < b for a, b in pairs)}; the mean difference is "
        f"{100 * gain:+.1f} percentage points."
    )


def _scheme_line(row: Row) -> str:
    return (
        f"| {row.setting.scheme} | {row.accuracy:.1%} | {row.end_device_bytes / MEBIBYTE:.1f} | "
        f"{row.server_bytes / MEBIBYTE:.1f} | {row.sent_bytes / MEBIBYTE:.1f} | {row.round_s:.2f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
