"""The split of a cluster against the enumeration of every chain."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner.chains.depths import depths
from gaisnet.planner.chains.moving import Moving
from gaisnet.planner.chains.refine import Refinement
from gaisnet.planner.chains.split import split_cluster
from gaisnet.planner.chains.step import Chain, step_figures
from gaisnet.planner.chains.tables import make_body
from gaisnet.planner.chains.task import SplitTask, overflow
from gaisnet.planner.cost import CostModel, Residence
from gaisnet.schema.fleet import Fleet, Link
from tests.planner.factory import LINKS, make_cost, make_device, make_job, make_model, make_unit


def chains(n_units: int, task: SplitTask) -> Iterator[Chain]:
    """Every chain that the rules allow, memory and links aside."""
    for head, tail in depths(n_units, task):
        if head == tail:
            yield task.chain(head, tail, ())
            continue
        most = min(tail - head, len(task.holders), task.max_stages or 99)
        for stages in range(1, most + 1):
            for cuts in combinations(range(head + 1, tail), stages - 1):
                starts, ends = [head, *cuts], [*cuts, tail]
                for devices in permutations(task.holders, stages):
                    body = tuple(
                        (device, first, end - 1)
                        for device, first, end in zip(devices, starts, ends, strict=True)
                    )
                    yield task.chain(head, tail, body)


def cheapest(cost: CostModel, task: SplitTask, ends: tuple[int, int] | None = None) -> float:
    """The least objective of all chains, or of those with head and tail at ``ends``."""
    values = [
        task.value(cost, chain)
        for chain in chains(cost.n_units, task)
        if not overflow(cost, task, chain)
        and ends in (None, (chain.head_units, chain.tail_first_unit))
        and np.isfinite(step_figures(cost, chain, task.speed).latency_s)
    ]
    return min(values, default=np.inf)


def moving(generator: np.random.Generator, names: list[str], n_units: int) -> Moving:
    """Prices of about the size of a step, and devices that hold some units already."""
    unit_bytes = tuple(int(b) for b in generator.integers(100, 1500, n_units))
    return Moving(
        unit_bytes=unit_bytes,
        missing={
            name: tuple(int(b * generator.integers(0, 2)) for b in unit_bytes)
            for name in names
            if generator.random() < 0.7
        },
        price=float(generator.choice([1e-7, 1e-5, 1e-3])),
    )


def beside(generator: np.random.Generator, n_units: int) -> dict[str, tuple[Residence, ...]]:
    """What the edge server holds for another cluster."""
    first, last = sorted(int(u) for u in generator.integers(0, n_units, 2))
    span = Residence(first_unit=first, last_unit=last, samples_in_flight=8, microbatch_size=8)
    return {"edge0": (span,)}


@st.composite
def tasks(draw: st.DrawFn) -> tuple[CostModel, SplitTask]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_units = draw(st.integers(2, 5))
    n_owners = draw(st.integers(1, 3))
    units = tuple(
        make_unit(
            i,
            n_units,
            forward_flops=int(generator.integers(0, 2_000_000)),
            attention_flops=0,
            backward_flops=int(generator.integers(0, 2_000_000)),
            weight_bytes=int(generator.integers(100, 1500)),
            working_bytes=int(generator.integers(0, 60)),
            gradient_output_bytes=128 if i else 0,
        )
        for i in range(n_units)
    )
    model = make_model(n_units, units=units, side_input_bytes=draw(st.sampled_from([0, 64])))
    names = [*(f"d{i}" for i in range(n_owners)), "x", "edge0"]
    devices = [
        make_device(
            name,
            "edge" if name == "edge0" else "end",
            flops_per_s=float(generator.uniform(2e8, 5e9)),
            memory_bytes=int(generator.integers(1500, 9000)),
            samples=10 if name.startswith("d") else 0,
            joules_per_flop=float(generator.uniform(0, 5e-9)),
        )
        for name in names
    ]
    links = [
        Link(
            between=(a, b),
            bandwidth_bits_per_s=float(generator.uniform(1e5, 1e8)),
            reverse_bandwidth_bits_per_s=float(generator.uniform(1e5, 1e8)),
            latency_s=float(generator.uniform(0, 0.005)),
            joules_per_byte=float(generator.uniform(0, 1e-6)),
        )
        for a, b in combinations(names, 2)
        if generator.random() < 0.85
    ]
    job = make_job(constraints={})
    cost = make_cost(job, Fleet(devices=tuple(devices), links=tuple(links)), model)
    owners = tuple(names[:n_owners])
    replanned = draw(st.booleans())
    task = SplitTask(
        name="c0",
        owners=owners,
        holders=tuple(names[1:] if n_owners > 1 else names[n_owners:]),
        limit_bytes={name: cost.devices[name].limit_bytes for name in names},
        speed={"edge0": draw(st.sampled_from([1.0, 0.5]))},
        intra=draw(st.sampled_from(["sequential", "merge"])),
        topology=draw(st.sampled_from(["u_shape", "vanilla"])),
        microbatches=draw(st.sampled_from([1, 2, 4])),
        batch_size=8,
        min_head_units=draw(st.integers(1, 2)),
        max_stages=draw(st.sampled_from([None, None, 1])),
        needs_body=draw(st.booleans()),
        objective=draw(st.sampled_from(["latency", "period", "makespan", "energy"])),
        moving=moving(generator, names, n_units) if replanned else None,
        beside=beside(generator, n_units) if replanned else {},
    )
    return cost, task


@settings(max_examples=200, deadline=None)
@given(case=tasks())
def test_bound_and_value_enclose_the_enumerated_optimum(case: tuple[CostModel, SplitTask]) -> None:
    cost, task = case
    best = cheapest(cost, task)
    split = split_cluster(cost, task)
    if split is None:
        assert best == np.inf
        return
    assert not overflow(cost, task, split.chain)
    assert split.value >= best * (1 - 1e-9)
    assert split.bound <= best * (1 + 1e-6)
    assert split.value == pytest.approx(best, rel=2e-6)
    assert split.gap <= 2e-6
    any_chain = next(c for c in chains(cost.n_units, task) if allowed(cost, task, c))
    warm = split_cluster(cost, task, [any_chain])
    assert warm is not None
    assert warm.value == pytest.approx(best, rel=2e-6)
    assert warm.gap <= 2e-6


def allowed(cost: CostModel, task: SplitTask, chain: Chain) -> bool:
    return not overflow(cost, task, chain) and np.isfinite(step_figures(cost, chain).latency_s)


@settings(max_examples=80, deadline=None)
@given(case=tasks())
def test_refinement_alone_finds_the_best_chain_of_each_depth(
    case: tuple[CostModel, SplitTask],
) -> None:
    cost, task = case
    body = make_body(cost, task)
    for ends in depths(cost.n_units, task):
        if ends[0] == ends[1] or not body.may_fit(ends):
            continue
        found = Refinement(body=body, ends=ends, value=math.inf, node_limit=10**6).run()
        best = cheapest(cost, task, ends)
        assert found.complete
        assert found.value == pytest.approx(best, rel=1e-6)
        assert (found.path is None) == math.isinf(best)


def test_a_fast_device_is_not_visited_twice() -> None:
    """Only fast holds two units at once, and only slow lies between: going back would pay."""
    limits = {"d0": 900, "edge0": 3_000, "d1": 20_000, "d2": 0}
    fleet = Fleet(
        devices=(
            make_device("d0", memory_bytes=900, samples=4),
            make_device("d1", memory_bytes=20_000, flops_per_s=1e6),
            make_device("d2", memory_bytes=0),
            make_device("edge0", "edge", memory_bytes=3_000, flops_per_s=1e12),
        ),
        links=LINKS,
    )
    cost = make_cost(make_job(), fleet, make_model(8))
    task = SplitTask(
        name="c0",
        owners=("d0",),
        holders=("d1", "d2", "edge0"),
        limit_bytes=limits,
        batch_size=1,
        objective="latency",
    )
    found = Refinement(
        body=make_body(cost, task), ends=(1, 7), value=math.inf, node_limit=10**6
    ).run()
    assert found.path is not None
    rows = [row for row, _, _ in found.path]
    assert len(rows) == len(set(rows)) == 2
    assert found.value == pytest.approx(cheapest(cost, task, (1, 7)))
