"""Whether a plan's round time comes true: predicted against measured, over links of given figures.

Machines are network namespaces of this one (``tests/cluster``: rates by the kernel's token buckets,
latency by a small switch). All is done by the commands that a user gives, each on its machine:
profiles of the model on every kind of device (one of them works without wide vector instructions),
profiles of the links, a plan, ``gaisnet join`` with credentials, and several rounds of
``gaisnet execute --engine ray``. It takes root, with ``ip`` and ``tc``.

    python -m benchmarks.cluster [--case links]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.fleets.cases import CASES, Case
from benchmarks.fleets.control import controlled
from benchmarks.fleets.prepare import prepare, usual_s
from gaisnet.schema.files import read_lines, read_model
from gaisnet.schema.plan import Plan
from gaisnet.schema.run import RoundMetrics
from tests.cluster.network import Network, can_make_networks
from tests.cluster.nodes import Cluster

__all__ = ["Outcome", "measure", "rows"]

_LOOK_EVERY_S, _IDLE_S = 2.0, 0.2
"""A process that has computed for no longer since it was last looked at does not import."""
TARGET = 0.15
"""Largest difference between measured and predicted round time, of the predicted one."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=sorted(CASES), action="append")
    parser.add_argument("--folder", type=Path, help="keep files there, and use what there is")
    options = parser.parse_args()
    if not can_make_networks():
        print("not run: namespaces can be made by root alone, with ip and tc")
        return
    for name in options.case or CASES:
        with tempfile.TemporaryDirectory() as passing:
            folder = (options.folder or Path(passing)) / name
            folder.mkdir(parents=True, exist_ok=True)
            for line in rows(CASES[name], measure(CASES[name], folder)):
                print(line, flush=True)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a case has shown."""

    plan: Plan
    rounds: list[RoundMetrics]
    start_s: float
    """From the command to the first round."""
    slower: float
    """CPU time that a fixed piece of work took while the plan was executed, over what it took
    while the profiles were taken."""


def measure(case: Case, folder: Path) -> Outcome:
    """Prepare a case and execute its plan.

    Args:
        case: Which one.
        folder: For all files; a run of before is replaced, other files are used as they are.
    """
    shutil.rmtree(folder / "run", ignore_errors=True)
    with Network(tuple(case.machines), case.bits_per_s, case.delay_s) as network:
        prepare(case, network, folder)
        profiles = {name: folder / f"{name}.json" for name in case.machines}
        settings = {name: case.settings(name) for name in case.machines}
        with Cluster(network, profiles, folder, ["--inline"], settings) as cluster:
            _await_warm(cluster)
            with controlled() as control_s:
                start_s = _run(cluster, folder)
    return Outcome(
        plan=read_model(folder / "plan.json", Plan),
        rounds=read_lines(folder / "run" / "metrics.jsonl", RoundMetrics),
        start_s=start_s,
        slower=statistics.median(control_s) / usual_s(folder),
    )


def _await_warm(cluster: Cluster) -> None:
    """Until the processes that wait for a run have imported what they need: no longer compute."""
    waiting = [cluster.waiting(name) for name in cluster.network.names]
    before, now = [0.0] * len(waiting), [_cpu_s(each) for each in waiting]
    while any(b - a > _IDLE_S for a, b in zip(before, now, strict=True)):
        time.sleep(_LOOK_EVERY_S)
        before, now = now, [_cpu_s(each) for each in waiting]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _run(cluster: Cluster, folder: Path) -> float:
    """Execute the plan; returns when its first round began."""
    run, started = folder / "run", time.perf_counter()
    words = ["execute", str(folder / "plan.json"), "--engine", "ray", "-o", str(run)]
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(cluster.ask, *words)
        while not done.done() and not _has_begun(run / "events.jsonl"):
            time.sleep(0.02)
        start_s = time.perf_counter() - started
        if done.result().returncode != 0:
            raise RuntimeError(done.result().stderr)
    return start_s


def _has_begun(events: Path) -> bool:
    return events.exists() and "round_started" in events.read_text()


def rows(case: Case, outcome: Outcome) -> Iterator[str]:
    """Tables of what was planned, of the rounds, and of what each device and link took."""
    plan, metrics = outcome.plan, outcome.rounds
    yield f"\n{case.name}: {case.title}"
    for cluster in plan.clusters:
        stages = [f"{s.device} {s.first_unit}-{s.last_unit}" for s in cluster.body]
        owners = ", ".join(owner.device for owner in cluster.owners)
        head, tail = cluster.head_units, cluster.tail_first_unit
        yield f"{owners}: head 0-{head - 1}, tail from {tail}; body {', '.join(stages)}"
    yield "\n| round | predicted, s | virtual, s | measured, s | measured / predicted |"
    yield "|---:|---:|---:|---:|---:|"
    for each in metrics:
        figures = f"{each.predicted_s:.3f} | {each.virtual_s:.3f} | {each.wall_s:.3f}"
        yield f"| {each.round + 1} | {figures} | {each.wall_s / each.predicted_s:.3f} |"
    ratio = statistics.median(each.wall_s / each.predicted_s for each in metrics)
    verdict = "met" if abs(ratio - 1.0) <= TARGET else "missed"
    yield f"\nmedian ratio {ratio:.3f}, aim within {TARGET:.0%}: {verdict}"
    yield f"a fixed piece of work took {outcome.slower:.3f} times as long as beside the profiles"
    yield f"the first round began {outcome.start_s:.1f} s after the command, on a warm cluster"
    yield from _computed(metrics)


def _computed(metrics: list[RoundMetrics]) -> Iterator[str]:
    """Seconds that each device computed, all rounds but the first together."""
    yield "\n| device | computes, predicted s | measured s | ratio |"
    yield "|---|---:|---:|---:|"
    work = [each for one in metrics[1:] for each in one.work]
    for device in sorted({each.device for each in work}):
        virtual_s = sum(each.virtual_s for each in work if each.device == device)
        wall_s = sum(each.wall_s or 0.0 for each in work if each.device == device)
        yield f"| {device} | {virtual_s:.3f} | {wall_s:.3f} | {wall_s / virtual_s:.3f} |"


if __name__ == "__main__":
    main()
