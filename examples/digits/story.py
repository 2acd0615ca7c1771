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

__all__ = ["head_line", "introduce", "show_outcome", "show_shares"]

MEBIBYTE = 2**20

INTRODUCTION = """\
[bold]gaisnet: eight unequal devices learn to read digits together[/bold]

A small vision transformer has learnt letters and has never seen a digit. Eight devices at two \
sites each own some handwritten digits, which may not leave them, and none of the devices has the \
memory to tune the model. So they hold it in pieces: each owner keeps the first and the last \
layers and its labels, and what lies between is spread over the site's devices and its edge \
server. Only small LoRA modules and the new head are tuned (split learning); a data centre \
averages those of the two sites after each round (federated learning). Then users at both sites \
ask which digit is which, and the same pieces answer.
"""


def introduce(console: Console) -> None:
    """Say what is going to happen."""
    console.print(INTRODUCTION)


def head_line(console: Console, text: str) -> None:
    """Begin a chapter."""
    console.print()
    console.rule(f"[bold]{text}", align="left")


def show_shares(console: Console, folder: Path) -> None:
    """Which device owns how many of which digit."""
    table = _table("device", "hardware")
    table.add_column("samples", justify="right")
    for digit in range(10):
        table.add_column(str(digit), justify="right", style="dim")
    for device, preset in END_DEVICES.items():
        labels = load_file(folder / share_path(device))["labels"]
        counts = torch.bincount(labels, minlength=10).tolist()
        table.add_row(device, preset, str(len(labels)), *(str(n) if n else "·" for n in counts))
    console.print("\n[bold]Who owns how many of which digit[/bold]")
    console.print(table)


def show_outcome(
    console: Console, outcome: Outcome, accuracies: Mapping[str, float], folder: Path
) -> None:
    """The figures that the demo is about.

    Args:
        console: Where to print.
        outcome: Of the commands.
        accuracies: On all held-out digits, ``before`` and ``after`` tuning.
        folder: The demo's.
    """
    head_line(console, "What came of it")
    _show_accuracy(console, outcome, accuracies)
    console.print("\n[bold]Memory to tune with[/bold], MiB: the pieces that each device holds")
    console.print(_memory_table(outcome))
    console.print("\n[bold]Sent between tiers[/bold], MiB, tuning and answering")
    console.print(_traffic_table(outcome))
    _show_times(console, outcome)
    _show_places(console, outcome, folder)


def _show_accuracy(console: Console, outcome: Outcome, accuracies: Mapping[str, float]) -> None:
    before, after = accuracies["before"], accuracies["after"]
    console.print(
        f"[bold]Test accuracy[/bold]  {before:.1%} before, [bold green]{after:.1%}[/bold green] "
        f"after {len(outcome.rounds)} rounds"
    )
    console.print("(on all held-out digits, the tuned modules loaded into the whole model by peft)")
    told = [
        f"{service.accuracy or 0.0:.1%} of the {service.requests} digits of {service.service}"
        for service in outcome.services
    ]
    console.print(f"Split inference answered {' and '.join(told)} rightly.")


def _memory_table(outcome: Outcome) -> Table:
    table = _table("device", "layers")
    for name in ("needs", "has", "the whole model needs", "saved"):
        table.add_column(name, justify="right")
    for device in outcome.plan.predictions.devices:
        figures = device.memory_bytes, device.limit_bytes, device.whole_model_bytes
        table.add_row(
            device.device,
            outcome.held_by(device.device),
            *(f"{figure / MEBIBYTE:.2f}" for figure in figures),
            f"{1.0 - device.memory_bytes / device.whole_model_bytes:.0%}",
        )
    return table


def _traffic_table(outcome: Outcome) -> Table:
    table = _table("from", "to")
    for name in ("messages", "tensors", "with headers"):
        table.add_column(name, justify="right")
    for (sender, receiver), sent in outcome.tier_traffic().items():
        table.add_row(
            sender,
            receiver,
            f"{sent.frames:,}",
            f"{sent.payload_bytes / MEBIBYTE:.2f}",
            f"{sent.frame_bytes / MEBIBYTE:.2f}",
        )
    return table


def _table(*columns: str) -> Table:
    """A table that begins with these columns of text."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, no_wrap=True)
    return table


def _show_times(console: Console, outcome: Outcome) -> None:
    predicted = median(metrics.predicted_s for metrics in outcome.rounds)
    virtual = median(metrics.virtual_s for metrics in outcome.rounds)
    here = median(metrics.wall_s for metrics in outcome.rounds)
    console.print(
        f"\n[bold]A round[/bold]  {predicted:.3f} s predicted by the plan, {virtual:.3f} s on the "
        f"fleet's virtual clock ({virtual / predicted - 1.0:+.1%}), {here:.3f} s on this machine"
    )


def _show_places(console: Console, outcome: Outcome, folder: Path) -> None:
    console.print("\n[bold]Where it all lies[/bold]")
    places = [(f"adapters ({d})", p) for d, p in sorted(outcome.manifest.adapters.items())]
    rows = [(name, outcome.run_dir / place) for name, place in places]
    rows += [("report", outcome.run_dir / "report.html"), ("plan", folder / "plan.json")]
    rows += [("fleet", folder / "fleet.yaml"), ("job", folder / "job.yaml")]
    for name, path in rows:
        console.print(f"  {name:20}{path}", soft_wrap=True)
