"""What the demo prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from examples.digits.fleet import END_DEVICES, share_path
from examples.digits.outcome import Outcome

__all__ = ["introduce", "show_outcome", "show_shares"]

MEBIBYTE = 2**20

INTRODUCTION = """\
[bold]Handwritten digits on eight unequal devices[/bold]

A small vision transformer has learnt letters, and has never seen a digit. Eight devices at two
sites own some handwritten digits each. The digits may not leave their device, and none of the
devices has the memory to tune the whole model. So they hold it together: layers on the devices,
layers on the edge server of their site, only small LoRA modules are tuned, and a data centre
averages those of the two sites. Then users of both sites ask which digit is which.
"""


def introduce(console: Console) -> None:
    """Say what is going to happen."""
    console.print(INTRODUCTION)


def show_shares(console: Console, folder: Path) -> None:
    """Which device owns how many of which digit."""
    table = Table(title="Who owns which digits", title_justify="left", box=None)
    table.add_column("device")
    table.add_column("hardware")
    table.add_column("samples", justify="right")
    for digit in range(10):
        table.add_column(str(digit), justify="right")
    for device, preset in END_DEVICES.items():
        labels = load_file(folder / share_path(device))["labels"]
        counts = torch.bincount(labels, minlength=10).tolist()
        table.add_row(device, preset, str(len(labels)), *(str(n) if n else "·" for n in counts))
    console.print(table)


def show_outcome(
    console: Console, outcome: Outcome, accuracies: Mapping[str, float], folder: Path
) -> None:
    """The figures that the demo is about."""
    console.rule("[bold]What came of it", align="left")
    _show_accuracy(console, outcome, accuracies)
    console.print(_memory_table(outcome))
    console.print(_traffic_table(outcome))
    _show_times(console, outcome)
    _show_places(console, outcome, folder)


def _show_accuracy(console: Console, outcome: Outcome, accuracies: Mapping[str, float]) -> None:
    asked = sum(service.requests for service in outcome.services)
    rounds = len(outcome.rounds)
    console.print(
        f"[bold]Test accuracy[/bold]  {accuracies['before']:.1%} before, "
        f"[bold green]{accuracies['after']:.1%} after[/bold green] {rounds} rounds "
        "(the tuned modules loaded by peft, all held-out digits)"
    )
    for service in outcome.services:
        share = f"{service.accuracy:.1%}" if service.accuracy is not None else "unscored"
        console.print(f"  {service.service}: {share} of {service.requests} digits right")
    console.print(f"  {asked} digits were answered by split inference.\n")


def _memory_table(outcome: Outcome) -> Table:
    table = Table(
        title="Memory for tuning, MiB: held units against the whole model",
        title_justify="left",
        box=None,
    )
    for name in ("device", "units"):
        table.add_column(name)
    for name in ("needs", "of", "whole model", "saved"):
        table.add_column(name, justify="right")
    for device in outcome.plan.predictions.devices:
        saved = 1.0 - device.memory_bytes / device.whole_model_bytes
        table.add_row(
            device.device,
            outcome.held_by(device.device),
            *(
                f"{n / MEBIBYTE:.1f}"
                for n in (device.memory_bytes, device.limit_bytes, device.whole_model_bytes)
            ),
            f"{saved:.0%}",
        )
    return table


def _traffic_table(outcome: Outcome) -> Table:
    table = Table(title="\nBytes over each tier, MiB", title_justify="left", box=None)
    table.add_column("from → to")
    for name in ("messages", "tensors", "with headers"):
        table.add_column(name, justify="right")
    for (sender, receiver), sent in outcome.tier_traffic().items():
        table.add_row(
            f"{sender} → {receiver}",
            f"{sent.frames:,}",
            f"{sent.payload_bytes / MEBIBYTE:.2f}",
            f"{sent.frame_bytes / MEBIBYTE:.2f}",
        )
    return table


def _show_times(console: Console, outcome: Outcome) -> None:
    predicted = median(r.predicted_s for r in outcome.rounds)
    virtual = median(r.virtual_s for r in outcome.rounds)
    here = median(r.wall_s for r in outcome.rounds)
    console.print(
        f"\n[bold]A round takes[/bold]  {predicted:.3f} s as planned, {virtual:.3f} s on the "
        f"fleet's virtual clock ({virtual / predicted - 1.0:+.1%}); {here:.2f} s on this machine."
    )


def _show_places(console: Console, outcome: Outcome, folder: Path) -> None:
    console.print("\n[bold]Where things are[/bold]")
    for domain, place in sorted(outcome.manifest.adapters.items()):
        console.print(f"  adapters ({domain})  {outcome.run_dir / place}")
    console.print(f"  report              {outcome.run_dir / 'report.html'}")
    console.print(f"  plan                {folder / 'plan.json'}")
