"""The picture of a comparison: ratios and infeasible shares of each rule, by slack.

    python -m benchmarks.peers.plots FIGURES.json … -o docs/planner-peers.svg

The files are what ``benchmarks.planner --peers --save`` wrote.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.peers import RULES

SLACKS = (4.0, 2.5, 1.5)
OBJECTIVES = ("latency", "energy", "period")


def scores(
    rows: list[dict[str, Any]], rule: str, slack: float, objective: str
) -> tuple[float, float]:
    """Median ratio where feasible and share of problems that are not, over all sizes."""
    own = [r for r in rows if (r["rule"], r["slack"], r["objective"]) == (rule, slack, objective)]
    ratios = [ratio for row in own for ratio in row["ratios"]]
    infeasible = sum(row["infeasible"] for row in own)
    total = infeasible + len(ratios)
    return (
        statistics.median(ratios) if ratios else float("nan"),
        infeasible / total if total else float("nan"),
    )


def draw(axes: Axes, rows: list[dict[str, Any]], objective: str, part: int) -> None:
    """One panel: a bar per rule within each slack."""
    width = 0.8 / len(RULES)
    for number, rule in enumerate(RULES):
        heights = [scores(rows, rule, slack, objective)[part] for slack in SLACKS]
        at = [place + (number - (len(RULES) - 1) / 2) * width for place in range(len(SLACKS))]
        axes.bar(at, heights, width, label=rule)
    axes.set_xticks(range(len(SLACKS)), [f"slack {slack}" for slack in SLACKS])
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Read the figures, draw three columns of two panels."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("figures", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    rows = [row for path in arguments.figures for row in json.loads(path.read_text())]
    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "peers", "font.size": 8})
    figure, panels = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
    for column, objective in enumerate(OBJECTIVES):
        draw(panels[0, column], rows, objective, 0)
        draw(panels[1, column], rows, objective, 1)
        panels[0, column].set(title=objective, yscale="log", ylim=(1, 40))
        panels[1, column].set(ylim=(0, 1))
    panels[0, 0].set_ylabel("median of value / optimum")
    panels[1, 0].set_ylabel("share of problems infeasible")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(arguments.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
