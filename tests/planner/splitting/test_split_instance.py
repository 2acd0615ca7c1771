"""Instances composed by hand: fixed ends, busy devices, forbidden places."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gaisnet.planner.splitting import SplitInstance, solve_instance
from gaisnet.planner.splitting.instance import translate
from gaisnet.planner.splitting.tables import chain_tables
from tests.planner.splitting.oracle import OBJECTIVES, random_problem


def random_instance(seed: int, devices: int = 4, units: int = 5) -> SplitInstance:
    """Every array is used: entries and exits, one of them closed, base loads, forbidden places."""
    rng = np.random.default_rng(seed)
    hop_s = rng.uniform(0, 3, (devices, devices, units - 1))
    hop_s[rng.random(hop_s.shape) < 0.1] = np.inf
    entry_s = rng.uniform(0, 4, devices)
    entry_s[rng.integers(devices)] = np.inf
    return SplitInstance(
        work_s=rng.uniform(0, 3, (devices, units)),
        work_j=rng.uniform(0, 3, (devices, units)),
        memory_bytes=rng.integers(1, 5, (devices, units)).astype(float),
        capacity_bytes=rng.integers(3, 12, devices).astype(float),
        hop_s=hop_s,
        hop_j=rng.uniform(0, 3, hop_s.shape),
        entry_s=entry_s,
        entry_j=rng.uniform(0, 3, devices),
        exit_s=rng.uniform(0, 4, devices),
        exit_j=rng.uniform(0, 3, devices),
        base_busy_s=rng.uniform(0, 4, devices),
        allowed=rng.random((devices, units)) < 0.9,
        max_segments=int(rng.integers(2, devices + 1)),
        microbatches=int(rng.integers(1, 6)),
    )


def brute_force(instance: SplitInstance) -> dict[str, float]:
    best = dict.fromkeys(OBJECTIVES, math.inf)
    for count in range(1, (instance.max_segments or instance.devices) + 1):
        for cuts in itertools.combinations(range(1, instance.units), count - 1):
            edges = [0, *cuts, instance.units]
            for holders in itertools.permutations(range(instance.devices), count):
                spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
                for name, found in figures(instance, holders, spans).items():
                    best[name] = min(best[name], found)
    return best


def figures(
    instance: SplitInstance, holders: tuple[int, ...], spans: list[slice]
) -> dict[str, float]:
    parts = list(zip(holders, spans, strict=True))
    for n, span in parts:
        if instance.memory_bytes[n, span].sum() > instance.capacity_bytes[n]:
            return {}
        if not instance.allowed[n, span].all():
            return {}
    hops = [(n, m, span.stop - 1) for (n, span), (m, _) in itertools.pairwise(parts)]
    ends = (holders[0], holders[-1])
    links = [
        instance.entry_s[ends[0]],
        *(instance.hop_s[h] for h in hops),
        instance.exit_s[ends[1]],
    ]
    if math.inf in links:
        return {}
    busy = instance.base_busy_s.copy()
    for n, span in parts:
        busy[n] += instance.work_s[n, span].sum()
    latency = float(sum(links) + sum(instance.work_s[n, span].sum() for n, span in parts))
    period = float(max(*busy, *links))
    energy = sum(instance.work_j[n, span].sum() for n, span in parts)
    energy += sum(instance.hop_j[h] for h in hops)
    energy += instance.entry_j[ends[0]] + instance.exit_j[ends[1]]
    makespan = latency + (instance.microbatches - 1) * period
    return {"latency": latency, "period": period, "makespan": makespan, "energy": float(energy)}


@pytest.mark.parametrize("solver", ["exact", "milp", "subset_dp"])
def test_every_array_counts(solver: Any) -> None:
    outcomes = set()
    for seed in range(40):
        instance = random_instance(seed)
        best = brute_force(instance)
        for objective in OBJECTIVES:
            answer = solve_instance(instance, objective, solver=solver)
            outcomes.add(answer.status)
            if best[objective] == math.inf:
                assert answer.status == "infeasible"
            else:
                assert answer.value == pytest.approx(best[objective], rel=1e-6)
    assert outcomes == {"optimal", "infeasible"}


def test_a_u_shape_equals_its_heads_and_tails_fixed_one_by_one() -> None:
    """The body between a fixed head and tail is an instance with entry and exit costs."""
    compared = 0
    for seed in range(1000):
        problem = random_problem(seed)
        if problem.topology != "u_shape" or len(problem.units) < 3 or problem.max_segments:
            continue
        whole = translate(problem)
        best = solve_instance(whole, "latency").value
        found = [
            fixed_ends(whole, a, b)
            for a in range(1, len(problem.units))
            for b in range(a + 1, len(problem.units))
        ]
        table = chain_tables(whole, "latency").segment_cost
        found.append(float(table[problem.owner, 0, -1]))
        assert min(found) == pytest.approx(math.inf if best is None else best)
        compared += best is not None
    assert compared >= 10


def fixed_ends(whole: SplitInstance, head_units: int, tail_begin: int) -> float:
    """Latency with units ..head_units on the head row and tail_begin.. on the tail row."""
    head, tail = whole.two_ends or (0, 0)
    both = whole.memory_bytes[head, :head_units].sum() + whole.memory_bytes[tail, tail_begin:].sum()
    fits = whole.allowed[head, :head_units].all() and whole.allowed[tail, tail_begin:].all()
    if both > whole.capacity_bytes[head] or not fits:
        return math.inf
    others = [n for n in range(whole.devices) if n not in (head, tail)]
    if not others:
        return math.inf
    inner = slice(head_units, tail_begin)
    body = SplitInstance(
        work_s=whole.work_s[others, inner],
        work_j=whole.work_j[others, inner],
        memory_bytes=whole.memory_bytes[others, inner],
        capacity_bytes=whole.capacity_bytes[others],
        hop_s=whole.hop_s[np.ix_(others, others)][:, :, head_units : tail_begin - 1],
        hop_j=whole.hop_j[np.ix_(others, others)][:, :, head_units : tail_begin - 1],
        entry_s=whole.hop_s[head, others, head_units - 1],
        entry_j=whole.hop_j[head, others, head_units - 1],
        exit_s=whole.hop_s[others, tail, tail_begin - 1],
        exit_j=whole.hop_j[others, tail, tail_begin - 1],
        base_busy_s=whole.base_busy_s[others],
        allowed=whole.allowed[others, inner],
    )
    found = solve_instance(body, "latency").value
    ends = whole.work_s[head, :head_units].sum() + whole.work_s[tail, tail_begin:].sum()
    return math.inf if found is None else float(found + ends)


def test_arrays_of_the_wrong_shape_or_sign_are_refused() -> None:
    instance = random_instance(0)
    with pytest.raises(ValueError, match=r"entry_s must have shape \(4,\), got \(3,\)"):
        replace(instance, entry_s=np.zeros(3))
    with pytest.raises(ValueError, match="work_s holds a negative figure or NaN"):
        replace(instance, work_s=-instance.work_s)
    with pytest.raises(ValueError, match="hop_j holds a negative figure or NaN"):
        replace(instance, hop_j=np.full_like(instance.hop_j, np.nan))
