"""The bounds that the searches prune with, and searches that must lean on them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner import solve_split
from gaisnet.planner.splitting import additive, period
from gaisnet.planner.splitting.ascent import improve_prices
from gaisnet.planner.splitting.astar import AStar
from gaisnet.planner.splitting.budget import Budget
from gaisnet.planner.splitting.effort import Effort
from gaisnet.planner.splitting.instance import translate
from gaisnet.planner.splitting.lagrangian import (
    Prices,
    completion,
    is_chain,
    no_prices,
    relaxed_path,
)
from gaisnet.planner.splitting.neighbours import Neighbourhoods
from gaisnet.planner.splitting.probe import Probe
from gaisnet.planner.splitting.subset_dp import SubsetProgramme
from gaisnet.planner.splitting.sweep import Sweep
from gaisnet.planner.splitting.symmetry import interchangeable
from gaisnet.planner.splitting.tables import ChainTables, chain_tables, root_tables
from gaisnet.planner.splitting.windows import polish
from tests.planner.splitting.oracle import OBJECTIVES, brute_force, random_problem
from tests.planner.splitting.test_split_instance import random_instance

few = settings(max_examples=80, deadline=None)
seeds = st.integers(0, 10**6)


def tables_of(seed: int, objective: Any = "latency") -> ChainTables:
    instance = translate(random_problem(seed, devices=5, units=6))
    return root_tables(instance, chain_tables(instance, objective))


def random_prices(tables: ChainTables, rng: np.random.Generator) -> Prices:
    return Prices(rng.exponential(2.0, tables.devices), float(rng.exponential(0.5)))


def optimum(tables: ChainTables, *, longest_stage: bool = False) -> float:
    return SubsetProgramme(tables, longest_stage=longest_stage).run().value


def random_near(devices: int, rng: np.random.Generator, share: float = 0.5) -> Neighbourhoods:
    near = rng.random((devices, devices)) < share
    np.fill_diagonal(near, False)
    return Neighbourhoods(tuple(tuple(map(int, np.flatnonzero(row))) for row in near))


@few
@given(seeds)
def test_any_prices_and_neighbourhoods_bound_the_optimum(seed: int) -> None:
    tables, rng = tables_of(seed), np.random.default_rng(seed)
    near = random_near(tables.devices, rng)
    bound = completion(tables, random_prices(tables, rng), near).bound
    best = optimum(tables)
    assert bound <= best + 1e-9 * abs(best) or best == math.inf


@few
@given(seeds)
def test_larger_neighbourhoods_never_lower_the_bound(seed: int) -> None:
    tables, rng = tables_of(seed), np.random.default_rng(seed)
    prices = random_prices(tables, rng)
    large = random_near(tables.devices, rng, 0.7)
    small = Neighbourhoods(tuple(near[: len(near) // 2] for near in large.near))
    bounds = [completion(tables, prices, near).bound for near in (None, small, large)]
    assert bounds == sorted(bounds)


@few
@given(seeds)
def test_with_everybody_near_the_bound_is_the_optimum(seed: int) -> None:
    tables = tables_of(seed)
    if tables.max_segments < tables.devices:
        return
    everybody = random_near(tables.devices, np.random.default_rng(0), share=2.0)
    assert completion(tables, no_prices(tables), everybody).bound == pytest.approx(optimum(tables))


@few
@given(seeds)
def test_relaxed_paths_attain_the_bound(seed: int) -> None:
    tables, rng = tables_of(seed), np.random.default_rng(seed)
    prices = random_prices(tables, rng)
    ways = completion(tables, prices, random_near(tables.devices, rng))
    if math.isinf(ways.bound):
        return
    path = relaxed_path(tables, ways)
    fees = sum(prices.device[n] + prices.segment for n, _, _ in path)
    value = tables.cost_of(path) + fees - prices.refund(tables.max_segments)
    assert value == pytest.approx(ways.bound)


@few
@given(seeds)
def test_better_prices_never_lower_the_bound(seed: int) -> None:
    tables = tables_of(seed)
    plain = completion(tables, no_prices(tables)).bound
    twins = interchangeable(tables)
    ascent = improve_prices(tables, no_prices(tables), incumbent=math.inf, rounds=20, twins=twins)
    assert ascent.bound >= plain
    if math.isfinite(ascent.bound):
        assert completion(tables, ascent.prices).bound == ascent.bound
        assert ascent.value >= optimum(tables) * (1 - 1e-9)


@few
@given(seeds, st.sampled_from(["latency", "energy"]), st.sampled_from([1, 3, 10**6]))
def test_sweeps_bracket_the_optimum_and_are_exact_when_wide(
    seed: int, objective: str, width: int
) -> None:
    tables, rng = tables_of(seed, objective), np.random.default_rng(seed)
    prices = random_prices(tables, rng)
    ways = completion(tables, prices, random_near(tables.devices, rng))
    found = Sweep(tables, prices, ways, interchangeable(tables), math.inf).run(width, Budget())
    best = optimum(tables)
    assert found.value >= best * (1 - 1e-9)
    assert found.bound <= best * (1 + 1e-9)
    if found.path is not None:
        assert is_chain(tables, found.path)
        assert tables.cost_of(found.path) == pytest.approx(found.value)
    if width > 10:
        assert found.value == found.bound


@few
@given(seeds, st.floats(0.5, 1.5))
def test_a_sweep_finds_nothing_at_or_above_its_cutoff(seed: int, factor: float) -> None:
    tables, rng = tables_of(seed), np.random.default_rng(seed)
    prices = random_prices(tables, rng)
    ways = completion(tables, prices, random_near(tables.devices, rng))
    best = optimum(tables)
    cutoff = best * factor
    found = Sweep(tables, prices, ways, interchangeable(tables), cutoff).run(10**6, Budget())
    assert (found.path is not None) == (math.isfinite(best) and best < cutoff * (1 - 1e-9))


@few
@given(seeds, st.sampled_from(["latency", "energy"]))
def test_astar_is_exact_under_any_prices(seed: int, objective: str) -> None:
    tables, rng = tables_of(seed, objective), np.random.default_rng(seed)
    prices = random_prices(tables, rng)
    ways = completion(tables, prices, random_near(tables.devices, rng))
    found = AStar(tables, prices, ways, interchangeable(tables), math.inf).run(Budget())
    assert found.value == pytest.approx(optimum(tables))
    assert found.bound == pytest.approx(found.value)


@few
@given(seeds, st.floats(0.3, 3.0))
def test_probes_are_right_with_and_without_prices(seed: int, factor: float) -> None:
    tables, rng = tables_of(seed, "period"), np.random.default_rng(seed)
    shortest = optimum(tables, longest_stage=True)
    period_s = factor * shortest if math.isfinite(shortest) else math.inf
    probe = Probe(tables, interchangeable(tables), period_s)
    near = random_near(tables.devices, rng, 0.4)
    feasible = shortest <= period_s and math.isfinite(shortest)
    for _ in range(2):
        verdict = probe.run(Budget())
        assert verdict.proven
        assert (verdict.path is not None) == feasible
        probe.tighten(random_prices(tables, rng), near, 10, Budget())
        wide, narrow = probe.sweep(10**6, Budget()), probe.sweep(1, Budget())
        assert wide.proven
        assert (wide.path is not None) == feasible
        assert feasible or narrow.path is None
        assert not (feasible and narrow.proven and narrow.path is None)


@few
@given(seeds, st.sampled_from(["latency", "energy"]))
def test_polishing_keeps_a_chain_a_chain_and_never_makes_it_dearer(
    seed: int, objective: str
) -> None:
    tables = tables_of(seed, objective)
    ways = completion(tables, no_prices(tables))
    found = Sweep(tables, no_prices(tables), ways, interchangeable(tables), math.inf).run(
        1, Budget()
    )
    if found.path is None:
        return
    path = polish(tables, found.path, Budget())
    assert is_chain(tables, path)
    assert [i for _, i, _ in path] == [0, *(j + 1 for _, _, j in path[:-1])]
    assert optimum(tables) * (1 - 1e-9) <= tables.cost_of(path) <= found.value * (1 + 1e-9)


@pytest.mark.parametrize("block", range(3))
def test_searches_that_escalate_at_once_stay_exact(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    efforts = (Effort(0, 3, 1), Effort(2, 3, 2), Effort(3, 3, 10**6))
    monkeypatch.setattr(additive, "EFFORTS", efforts)
    monkeypatch.setattr(period, "PROBE_EFFORTS", efforts)
    monkeypatch.setattr(period, "_GLANCE_NODES", 1)
    monkeypatch.setattr(additive, "_FIRST_WIDTH", 1)
    monkeypatch.setattr(additive, "_FIRST_ROUNDS", 1)
    monkeypatch.setattr(additive, "_FIRST_NODES", 1)
    for seed in range(2000 + 40 * block, 2040 + 40 * block):
        problem = random_problem(seed)
        best = brute_force(problem)
        for objective in OBJECTIVES:
            answer = solve_split(problem, objective, solver="exact", node_limit=None)
            assert (answer.value or math.inf) == pytest.approx(best[objective] or math.inf)


@pytest.mark.parametrize("seed", range(12))
def test_astar_keeps_the_cheapest_way_to_each_state(seed: int) -> None:
    """Large prices make the estimates poor, so that dear ways are found before cheap ones."""
    instance = random_instance(seed, devices=6, units=8)
    tables = chain_tables(instance, "energy")
    prices = random_prices(tables, np.random.default_rng(seed))
    ways = completion(tables, prices)
    found = AStar(tables, prices, ways, interchangeable(tables), math.inf).run(Budget())
    assert found.value == pytest.approx(optimum(tables))
