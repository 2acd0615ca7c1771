"""Small random jobs with a plan, and what brute force says about them without some devices."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from gaisnet.errors import InfeasibleError
from gaisnet.planner import Inputs, plan_inputs, read_inputs
from gaisnet.planner.chains import Chain, Moving, SplitTask, overflow, step_figures
from gaisnet.planner.cost import CostModel
from gaisnet.schema.fleet import Fleet, Link
from gaisnet.schema.job import Job
from gaisnet.schema.plan import ClusterPlan, Plan
from gaisnet.schema.profile import ModelPart
from tests.planner.factory import make_device, make_job, make_model, make_unit, write_files
from tests.planner.test_cluster_split import chains

__all__ = ["Case", "Judged", "jobs", "judged", "made", "units_of"]

SERVERS = ("edge0", "cloud0")


@dataclass(frozen=True)
class Case:
    inputs: Inputs
    plan: Plan


Parts = tuple[Job, Fleet, ModelPart]


@st.composite
def jobs(draw: st.DrawFn, clusters: int = 1) -> Parts:
    """A job, its fleet and its model."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_units, n_owners = draw(st.integers(3, 5)), draw(st.integers(max(1, clusters), 3))
    units = tuple(
        make_unit(
            i,
            n_units,
            forward_flops=int(generator.integers(1000, 2_000_000)),
            attention_flops=0,
            backward_flops=int(generator.integers(1000, 2_000_000)),
            weight_bytes=int(generator.integers(100, 1500)),
            working_bytes=int(generator.integers(0, 60)),
        )
        for i in range(n_units)
    )
    names = [*(f"d{i}" for i in range(n_owners)), "x", *SERVERS]
    tiers = {"edge0": "edge", "cloud0": "cloud"}
    devices = [
        make_device(
            name,
            tiers.get(name, "end"),
            flops_per_s=float(generator.uniform(2e8, 5e9)),
            memory_bytes=int(generator.integers(1000, 7000)),
            samples=10 if name.startswith("d") else 0,
        )
        for name in names
    ]
    links = [
        Link(
            between=(a, b),
            bandwidth_bits_per_s=float(generator.uniform(1e5, 1e8)),
            latency_s=float(generator.uniform(0, 0.005)),
        )
        for a, b in combinations(names, 2)
        if generator.random() < 0.85
    ]
    job = make_job(
        objective=draw(st.sampled_from(["latency", "period", "makespan", "energy"])),
        fine_tuning={"batch_size": 8, "microbatches": draw(st.sampled_from([1, 2]))},
        clustering={"clusters": clusters},
    )
    fleet = Fleet(devices=tuple(devices), links=tuple(links))
    return job, fleet, make_model(n_units, units=units)


def made(folder: Path, parts: Parts) -> Case | None:
    """The job planned; None if it cannot be."""
    inputs = read_inputs(write_files(folder, *parts))
    try:
        return Case(inputs, plan_inputs(inputs, folder))
    except InfeasibleError:
        return None


@dataclass(frozen=True)
class Judged:
    """One way to go on with a cluster."""

    chain: Chain
    value: float
    moved_bytes: int


def judged(case: Case, cluster: ClusterPlan, gone: Collection[str]) -> Iterator[Judged]:
    """Every chain that memory and links allow for what is left, with objective and bytes."""
    cost = CostModel.from_inputs(case.inputs)
    task = _task(case, cluster, gone)
    if not task.owners:
        return
    held = units_of(cluster, cost.n_units)
    for chain in chains(cost.n_units, task):
        figures = step_figures(cost, chain)
        if not overflow(cost, task, chain) and math.isfinite(figures.latency_s):
            value = figures.value(task.objective, task.turns)
            yield Judged(chain, value, _moved(cost, held, chain))


def _task(case: Case, cluster: ClusterPlan, gone: Collection[str]) -> SplitTask:
    job = case.inputs.job
    left = [device for device in case.inputs.fleet.devices if device.id not in gone]
    return SplitTask(
        name=cluster.id,
        owners=tuple(o.device for o in cluster.owners if o.device not in gone),
        holders=tuple(device.id for device in left),
        limit_bytes={d.id: d.figures.memory_bytes for d in left if d.figures},
        microbatches=job.fine_tuning.microbatches,
        batch_size=job.fine_tuning.batch_size,
        objective=job.objective,
        moving=Moving(unit_bytes=(0,) * case.plan.n_units, price=0.0),
    )


def units_of(cluster: ClusterPlan | Chain, n_units: int) -> dict[str, set[int]]:
    """Units of each device."""
    ends = {*range(cluster.head_units), *range(cluster.tail_first_unit, n_units)}
    owners = [o if isinstance(o, str) else o.device for o in cluster.owners]
    held = {owner: set(ends) for owner in owners}
    for stage in cluster.body:
        device, first, last = (
            stage if isinstance(stage, tuple) else (stage.device, stage.first_unit, stage.last_unit)
        )
        held.setdefault(device, set()).update(range(first, last + 1))
    return held


def _moved(cost: CostModel, held: dict[str, set[int]], chain: Chain) -> int:
    """Weights and Adam's two moments of every unit that a device did not hold."""
    units = cost.model.units
    return sum(
        units[u].weight_bytes + units[u].optimizer_bytes
        for device, now in units_of(chain, cost.n_units).items()
        for u in now - held.get(device, set())
    )
