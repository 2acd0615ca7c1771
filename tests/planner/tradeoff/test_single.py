"""Single-homed routing: cluster values, bounds and routings against enumeration, tight as well."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner.tradeoff import TradeoffProblem, solve_tradeoff
from gaisnet.planner.tradeoff.instance import Instance, instance_of
from gaisnet.planner.tradeoff.prices import Pricing
from gaisnet.planner.tradeoff.shares import solve_shares
from gaisnet.planner.tradeoff.single import SingleSearch, keep_slos
from gaisnet.planner.tradeoff.values import Batch, ClusterValues
from tests.planner.tradeoff.factory import make_cluster, make_group, make_problem, random_problem


def scaled(problem: TradeoffProblem, load: float) -> TradeoffProblem:
    """All arrivals ``load`` times as frequent."""
    groups = tuple(
        group.model_copy(update={"rate_per_s": group.rate_per_s * load}) for group in problem.groups
    )
    return problem.model_copy(update={"groups": groups})


def supports(instance: Instance) -> list[np.ndarray]:
    """Pairs of every routing."""
    pairs = instance.pairs
    choices = [np.flatnonzero(pairs.group == g) for g in range(len(instance.weight))]
    return [np.array(support, dtype=np.int64) for support in itertools.product(*choices)]


def whole_value(instance: Instance, used: np.ndarray) -> float:
    """Sum of the clusters' values."""
    batch = Batch(
        cluster=np.arange(len(instance.problem.clusters)),
        row=instance.pairs.cluster[used],
        pair=used,
        part=np.ones(len(used)),
    )
    return float(ClusterValues(instance).value(batch).value.sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("load", [1.0, 2.0])
def test_cluster_values_are_those_of_the_convex_program(seed: int, load: float) -> None:
    """And deep below any value where there are no shares."""
    instance = instance_of(scaled(random_problem(seed, clusters=2, groups=3), load))
    for used in supports(instance)[::3]:
        value, shares = whole_value(instance, used), solve_shares(instance, used).shares
        if shares is None:
            assert value < -1.0
        else:
            assert value - instance.lost == pytest.approx(shares.value, rel=1e-6, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    price=st.tuples(st.floats(1e-4, 50.0), st.floats(1e-4, 50.0)),
)
def test_demands_are_the_derivatives_of_values(seed: int, price: tuple[float, float]) -> None:
    """Shares and slopes against central differences, of groups and of fine-tuning."""
    pricing = Pricing(instance_of(random_problem(seed, clusters=2, groups=4)))
    at = np.tile(price, (2, 1))
    for curve, sign in ((pricing.serve, 1.0), (pricing.tune, -1.0)):
        which = np.arange(2)
        here = curve(which, at)
        for q in range(2):
            step = np.zeros((2, 2))
            step[:, q] = 1e-5 * at[:, q]
            up, down = curve(which, at + step), curve(which, at - step)
            width = 2.0 * step[:, q]
            rise = (up.value - down.value) / width
            assert rise == pytest.approx(sign * here.share[:, q], rel=1e-4, abs=1e-6)
            bend = (up.share - down.share) / width[:, None]
            smooth = np.abs(up.slope - down.slope) <= 1e-2 * np.abs(here.slope) + 1e-9
            expected = here.slope[:, q : q + 2]
            kept = smooth.all(axis=1)
            assert bend[kept] == pytest.approx(expected[kept], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("load", [1.0, 1.6, 2.2])
def test_value_and_bound_enclose_the_best_of_all_routings(seed: int, load: float) -> None:
    """Loads from 40 to 90 % of the capacity: the heaviest have few routings or none."""
    problem = scaled(random_problem(seed, clusters=2, groups=4), load)
    instance = instance_of(problem)
    solution = solve_tradeoff(problem)
    every = [np.array([])] if len(set(instance.pairs.group.tolist())) < 4 else supports(instance)
    values = [whole_value(instance, used) for used in every if len(used)]
    best = max(values, default=-math.inf) - instance.lost
    if solution.status == "infeasible":
        assert best < -1.0
        return
    assert solution.value is not None
    assert solution.bound is not None
    assert solution.value <= best + 1e-6
    assert solution.bound >= best - 1e-6
    assert solution.status != "optimal" or solution.value >= best - 1e-3 * abs(best) - 1e-6


@pytest.mark.parametrize("load", [1.0, 1.8])
def test_relaxation_alone_bounds_every_routing(load: float) -> None:
    """Before branch and bound, so that no incumbent hides a cut on the wrong side."""
    problem = scaled(random_problem(3, clusters=3, groups=4), load)
    instance = instance_of(problem)
    search = SingleSearch(instance=instance, target=math.inf)
    search.run(wide=False)
    best = max(whole_value(instance, used) for used in supports(instance))
    assert search.best is not None
    assert search.best.total <= best + 1e-7 <= search.bound + 2e-7


def test_slos_that_just_fit_are_told_from_those_that_do_not() -> None:
    """Two groups that need a cluster's compute to the last bit: 2 (λ + θ) w = S."""
    margin = math.log(1.0 / 0.05)
    for room, fits in ((1.0 + 1e-4, True), (1.0 - 1e-4, False)):
        group = {"request_bytes": 0.0, "slo_percentile": 95.0, "slo_s": 1.0}
        groups = [make_group(f"g{i}", rate_per_s=2.0, **group) for i in range(2)]
        cluster = make_cluster(compute_flops_per_s=20.0 * (2.0 + margin) * room)
        problem = make_problem(*groups).model_copy(update={"clusters": (cluster,)})
        search = keep_slos(instance_of(problem))
        assert (search.best is not None) == fits
        assert (search.bound == -math.inf) != fits


def test_swaps_respect_the_memory_of_clusters() -> None:
    """Each cluster holds one domain; the better halves are found by more than one step."""
    groups = [
        make_group(f"g{i}", domain="ab"[i % 2], rate_per_s=0.4 + 0.1 * i, slo_s=2.0)
        for i in range(6)
    ]
    places = tuple(
        make_cluster(f"c{c}", compute_flops_per_s=100.0 + 40.0 * c, memory_bytes=10.0)
        for c in range(2)
    )
    problem = make_problem(*groups, modules_bytes={"a": 7.0, "b": 6.0})
    solution = solve_tradeoff(problem.model_copy(update={"clusters": places}))
    assert solution.status == "optimal"
    for shares in solution.shares:
        assert len(shares.domains) == 1
        assert shares.modules_bytes <= 10.0


@pytest.mark.parametrize("load", [1.0, 1.6])
def test_equal_large_problems_have_equal_solutions(load: float) -> None:
    problem = scaled(random_problem(8, clusters=4, groups=12, node_limit=5), load)
    first, second = (solve_tradeoff(problem) for _ in range(2))
    assert first.model_dump_json() == second.model_dump_json()
    assert first.gap is not None
    assert first.gap <= 1e-2
