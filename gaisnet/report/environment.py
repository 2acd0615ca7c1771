"""What ``gaisnet doctor`` finds: the environment, and whether a model's splits are exact."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import psutil
from rich.table import Table
from rich.text import Text

from gaisnet.report.tables import compact_table
from gaisnet.report.units import as_bytes

if TYPE_CHECKING:
    from gaisnet.models import SplitCheck

__all__ = ["checkup_table", "environment", "environment_table", "split_data", "split_table"]

_LIBRARIES = ("gaisnet", "torch", "transformers", "peft", "pulp", "highspy", "cvxpy", "pydantic")


def environment() -> dict[str, Any]:
    """Versions, cores and memory that gaisnet has here; imports none of the heavy libraries."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "available_bytes": psutil.virtual_memory().available,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def environment_table(found: dict[str, Any]) -> Table:
    """The environment for people."""
    table = Table.grid(padding=(0, 2))
    table.title, table.title_justify = "Environment", "left"
    table.add_row("python", found["python"])
    table.add_row("platform", found["platform"])
    for name, number in found["versions"].items():
        table.add_row(name, number or Text("missing", style="red"))
    table.add_row("cores", str(found["cores"]))
    memory, free = as_bytes(found["memory_bytes"]), as_bytes(found["available_bytes"])
    table.add_row("memory", f"{memory}, {free} available")
    return table


def checkup_table(findings: Sequence[Mapping[str, Any]]) -> Table:
    """What was found at a cluster's devices, for people."""
    table = compact_table("Devices", "device", "check", "found", "expected", "advice", left=5)
    for finding in findings:
        style = "green" if finding["ok"] else "bold red"
        table.add_row(
            finding["device"],
            finding["check"],
            Text(finding["found"], style=style),
            finding["expected"],
            finding["advice"],
        )
    return table


def split_data(check: SplitCheck) -> dict[str, Any]:
    """A check of a model's splits for programs."""
    return {**asdict(check), "ok": check.ok}


def split_table(check: SplitCheck) -> Table:
    """A check of a model's splits for people."""
    title = f"{check.architecture} ({check.task}, {check.tunable}), {check.n_units} units"
    columns = ("stages", "logits", "gradients", "generation", "largest difference")
    table = compact_table(title, *columns, left=4)
    for cut in check.cuts:
        stages = " | ".join(f"{first}–{last}" for first, last in cut.segments)
        equal = (cut.logits_equal, cut.gradients_equal, cut.generation_equal)
        table.add_row(stages, *map(_verdict, equal), f"{cut.largest_difference:.3g}")
    return table


def _verdict(equal: bool | None) -> Text:
    if equal is None:
        return Text("–", style="dim")
    return Text("equal", style="green") if equal else Text("differ", style="bold red")
