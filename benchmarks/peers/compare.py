"""Others' rules against ``solve_split`` on the same random problems, in one process.

    python -m benchmarks.planner --peers [--sizes 24x16,32x16,48x32] [--slacks 4,2.5,1.5]
        [--problems 10] [--milp-seconds 20] [--milp-problems 2] [--save docs/planner-peers.json]

Quality is the rule's objective over the least that is known (proven optimal unless marked).
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.peers import RULES
from benchmarks.peers.textbook import textbook
from gaisnet.planner import SplitProblem, evaluate_split, solve_split
from gaisnet.planner.splitting.evaluate import objective_value
from gaisnet.planner.splitting.solution import Objective, Segment

OURS = "solve_split"
OBJECTIVES: tuple[Objective, ...] = ("latency", "energy", "period")
Rule = Callable[[SplitProblem, Objective], list[Segment] | None]
Make = Callable[[int, int, float, int], SplitProblem]


@dataclass
class Score:
    """How one rule did at one size, slack and objective."""

    units: int
    devices: int
    slack: float
    objective: Objective
    rule: str
    ratios: list[float] = field(default_factory=list)
    infeasible: int = 0
    revisits: int = 0
    cpu_s: list[float] = field(default_factory=list)
    unproven: int = 0
    """Problems whose optimum is not proven; the ratio is then to the best that is known."""

    def __str__(self) -> str:
        problems = self.infeasible + len(self.ratios)
        ratio = "      –       –"
        if self.ratios:
            ratio = f"{statistics.median(self.ratios):7.3f} {max(self.ratios):7.3f}"
        return (
            f"{self.units:3} x {self.devices:<3} {self.slack:4}  {self.objective:8}"
            f" {self.rule:43} {ratio} {self.infeasible:3}/{problems:<3} {self.revisits:3}"
            f" {statistics.median(self.cpu_s):8.3f}"
        )


def compare(
    make: Make, sizes: Sequence[tuple[int, int]], slacks: Sequence[float], problems: int,
    milp_s: float, milp_problems: int,
) -> Iterator[Score]:  # fmt: skip
    """One score per size, slack, objective and rule; ours first."""
    for units, devices in sizes:
        for slack in slacks:
            made = [make(units, devices, slack, seed) for seed in range(problems)]
            for objective in OBJECTIVES:
                ours = Score(units, devices, slack, objective, OURS)
                least = [_least(problem, objective, ours) for problem in made]
                yield ours
                for name, rule in _rules(milp_s, milp_problems).items():
                    score = Score(units, devices, slack, objective, name, unproven=ours.unproven)
                    count = milp_problems if name.startswith("textbook") else problems
                    for problem, best in list(zip(made, least, strict=True))[:count]:
                        _judge(score, rule, problem, best)
                    if score.cpu_s:
                        yield score


def _rules(milp_s: float, milp_problems: int) -> dict[str, Rule]:
    rules: dict[str, Rule] = dict(RULES)
    if milp_problems:
        for solver in ("highs", "cbc"):
            rules[f"textbook MILP, {solver}, {milp_s:.0f} s"] = (
                lambda problem, objective, solver=solver: textbook(
                    problem, objective, solver, milp_s
                )
            )
    return rules


def _least(problem: SplitProblem, objective: Objective, ours: Score) -> float:
    started_s = time.process_time()
    answer = solve_split(problem, objective)
    ours.cpu_s.append(time.process_time() - started_s)
    if answer.value is None:
        ours.infeasible += 1
        return math.inf
    ours.ratios.append(1.0)
    ours.unproven += answer.status != "optimal"
    return answer.value


def _judge(score: Score, rule: Rule, problem: SplitProblem, least: float) -> None:
    """Revisiting a device is let pass, and counted: the rest must hold."""
    started_s = time.process_time()
    segments = rule(problem, score.objective)
    score.cpu_s.append(time.process_time() - started_s)
    found = evaluate_split(problem, segments or [])
    broken = [words for words in found.violations if "only one is allowed" not in words]
    if segments is None or broken:
        score.infeasible += 1
        return
    score.revisits += len(broken) < len(found.violations)
    score.ratios.append(objective_value(found, score.objective) / least)


def run(
    make: Make, sizes: Sequence[tuple[int, int]], slacks: Sequence[float], problems: int,
    milp_s: float, milp_problems: int, save: Path | None,
) -> None:  # fmt: skip
    """Print a line per score as it comes, and keep all of them."""
    scores = []
    print(
        "units x devices, slack, objective, rule, ratio median, most, infeasible, revisits, CPU s"
    )
    for score in compare(make, sizes, slacks, problems, milp_s, milp_problems):
        scores.append(asdict(score))
        print(score, flush=True)
        if save:
            save.write_text(json.dumps(scores, indent=1) + "\n")
