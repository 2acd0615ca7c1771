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
from gaisnet.planner.splitting.astar import AStar
from gaisnet.planner.splitting.budget import Budget
from gaisnet.planner.splitting.critical import Level
from gaisnet.planner.splitting.instance import translate
from gaisnet.planner.splitting.lagrangian import Prices, completion, improve_prices, no_prices
from gaisnet.planner.splitting.probe import Probe
from gaisnet.planner.splitting.subset_dp import SubsetProgramme
from gaisnet.planner.splitting.symmetry import interchangeable
from gaisnet.planner.splitting.tables import ChainTables, chain_tables, root_tables
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


@few
@given(seeds)
def test_any_prices_and_critical_devices_bound_the_optimum(seed: int) -> None:
    tables, rng = tables_of(seed), np.random.default_rng(seed)
    critical = tuple(int(n) for n in np.flatnonzero(rng.random(tables.devices) < 0.5))
    bound = completion(tables, random_prices(tables, rng), critical).bound
    best = optimum(tables)
    assert bound <= best + 1e-9 * abs(best) or best == math.inf


@few
@given(seeds)
def test_with_every_device_critical_the_bound_is_the_optimum(seed: int) -> None:
    tables = tables_of(seed)
    if tables.max_segments < tables.devices:
        return
    ways = completion(tables, no_prices(tables), tuple(range(tables.devices)))
    assert ways.bound == pytest.approx(optimum(tables))


@few
@given(seeds)
def test_better_prices_never_lower_the_bound(seed: int) -> None:
    tables = tables_of(seed)
    plain = completion(tables, no_prices(tables)).bound
    prices, bound, _, value = improve_prices(
        tables, no_prices(tables), incumbent=math.inf, rounds=20
    )
    assert bound >= plain - 1e-12
    if math.isfinite(bound):
        assert completion(tables, prices).bound == pytest.approx(bound)
        assert value >= optimum(tables) * (1 - 1e-9)


@few
@given(seeds, st.sampled_from(["latency", "energy"]))
def test_astar_is_exact_under_any_prices(seed: int, objective: str) -> None:
    tables, rng = tables_of(seed, objective), np.random.default_rng(seed)
    critical = tuple(int(n) for n in np.flatnonzero(rng.random(tables.devices) < 0.5))
    prices = random_prices(tables, rng)
    ways = completion(tables, prices, critical)
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
    critical = tuple(int(n) for n in np.flatnonzero(rng.random(tables.devices) < 0.4))
    for _ in range(2):
        verdict = probe.run(Budget())
        assert verdict.proven
        assert (verdict.path is not None) == (shortest <= period_s and math.isfinite(shortest))
        probe.tighten(random_prices(tables, rng), critical, 10, Budget())


@pytest.mark.parametrize("block", range(3))
def test_searches_that_escalate_at_once_stay_exact(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = (Level(0, 3, 1), Level(2, 3, 2), Level(3, 3, None))
    monkeypatch.setattr(additive, "LEVELS", levels)
    monkeypatch.setattr(period, "LEVELS", levels)
    monkeypatch.setattr(period, "_GLANCE_NODES", 1)
    monkeypatch.setattr(additive, "_BEAM", 1)
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
