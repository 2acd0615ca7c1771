"""Shares against closed forms, grids, enumeration and finite differences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner.sharing.curves import Curve, inverse, tail, wait
from gaisnet.planner.sharing.problem import SharingProblem
from gaisnet.planner.sharing.refuse import refusal
from gaisnet.planner.sharing.search import GAP, loosest_factor, solve_sharing
from gaisnet.planner.sharing.seconds import Length, Resource, Seconds
from gaisnet.planner.sharing.ways import latency_s
from tests.planner.sharing.factory import make_service, make_way, random_sharing, scaled

COMPUTE = ("compute", "a")


def one_device(**changes: object) -> SharingProblem:
    """A round and requests that need device a alone."""
    service = make_service(**{"rate_per_s": 1e-6, **changes})
    return SharingProblem(
        rounds=(Length(plain=Seconds(needed={COMPUTE: 3.0})),),
        ways=((make_way(service, {"a": 0.01}),),),
    )


def test_a_sixteenth_gives_a_lone_service_a_fifth() -> None:
    """min 1 / (1 - φ) + w / φ has φ = √w / (1 + √w)."""
    found = solve_sharing(one_device(), 100)
    assert found.sharing is not None
    assert found.sharing.shares[0][COMPUTE] == pytest.approx(0.2, rel=1e-2)
    assert found.value == pytest.approx((1 + 0.25) ** 2, rel=1e-5)


def test_without_a_weight_a_service_gets_what_its_slo_needs() -> None:
    found = solve_sharing(one_device(delay_weight=0.0, slo_s=0.1), 100)
    assert found.sharing is not None
    assert found.sharing.shares[0][COMPUTE] == pytest.approx(0.1, rel=1e-4)
    assert found.sharing.tuning[COMPUTE] == pytest.approx(0.9, rel=1e-4)


def test_a_grid_is_nowhere_better_and_comes_close() -> None:
    problem = random_sharing(3, services=1, ways=1)
    busy = one_device(rate_per_s=20.0, slo_s=0.2, slo_percentile=95.0)
    found = solve_sharing(busy, 100)
    best = math.inf
    for share in np.linspace(0.201, 0.999, 800):
        if latency_s(busy.ways[0][0], {COMPUTE: share}, 95.0) <= 0.2:
            mean = latency_s(busy.ways[0][0], {COMPUTE: share})
            best = min(best, 1.0 / (1.0 - share) + 0.0625 * mean / 0.01)
    assert best * (1 - 1e-4) - 2 * GAP <= found.value <= best * (1 + 1e-5)
    assert solve_sharing(problem, 100).sharing is not None


@pytest.mark.parametrize("seed", range(4))
def test_routing_and_shares_are_the_best_of_all_ways(seed: int) -> None:
    problem = random_sharing(seed, services=2, ways=2)
    found = solve_sharing(problem, 10_000)
    values = []
    for picked in itertools.product(*problem.ways):
        alone = SharingProblem(rounds=problem.rounds, ways=tuple((way,) for way in picked))
        # D0 is that of the fastest way of all.
        alone.__dict__["idle_s"] = problem.idle_s
        values.append(solve_sharing(alone, 1).value)
    best = min(values)
    if best == math.inf:
        assert found.sharing is None
        assert found.bound == math.inf
        return
    assert found.bound <= best * (1 + GAP)
    assert best * (1 - GAP) <= found.value <= best * (1 + 2 * GAP)
    assert found.gap <= 2 * GAP


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_shares_add_up_and_slos_hold(seed: int) -> None:
    problem = random_sharing(seed, services=3, ways=2)
    found = solve_sharing(problem, 10_000)
    if found.sharing is None:
        assert refusal(problem).hint
        return
    for s, (way, shares) in enumerate(zip(found.sharing.ways, found.sharing.shares, strict=True)):
        late = latency_s(way, shares, way.option.service.slo_percentile)
        assert late <= problem.limit_s(s)
    for resource in {r for shares in found.sharing.shares for r in shares} | problem.tuned():
        used = sum(shares.get(resource, 0.0) for shares in found.sharing.shares)
        assert used + found.sharing.tuning.get(resource, 0.0) <= 1 + 1e-9
    assert found.value == pytest.approx(problem.value(found.sharing))
    assert found.bound <= found.value


@pytest.mark.parametrize("seed", [0, 1])
def test_prices_lie_between_what_more_and_less_of_a_resource_change(seed: int) -> None:
    """The least objective is convex in a capacity, and a dual price is a slope of it."""
    problem = random_sharing(seed, services=2, ways=1)
    found = solve_sharing(problem, 100)
    assert found.sharing is not None

    def value(resource: Resource, factor: float) -> float:
        changed = scaled(problem, resource, factor)
        again = solve_sharing(changed, 100).sharing
        assert again is not None
        total = changed.round_s(again.tuning) / problem.full_round_s
        for s, (way, shares) in enumerate(zip(again.ways, again.shares, strict=True)):
            weight = problem.services[s].delay_weight
            total += weight * latency_s(way, shares) / problem.idle_s[s]
        return total

    prices = sorted(found.sharing.price.items(), key=lambda entry: -entry[1])[:3]
    for resource, price in prices:
        more = (found.value - value(resource, 1.02)) / 0.02
        less = (value(resource, 0.98) - found.value) / 0.02
        assert more - 5e-3 <= price <= less + 5e-3
        assert price == pytest.approx((more + less) / 2, rel=0.25, abs=5e-3)


@settings(max_examples=200, deadline=None)
@given(
    arrivals=st.floats(0.1, 50.0),
    burst=st.floats(1.0, 3.0),
    epsilon=st.floats(1e-4, 0.5),
    at=st.floats(1.001, 30.0),
    elsewhere=st.floats(1.001, 30.0),
)
def test_tangents_lie_below_their_curves(
    arrivals: float, burst: float, epsilon: float, at: float, elsewhere: float
) -> None:
    curves: list[Curve] = [inverse(), wait(arrivals, burst), tail(arrivals, burst, epsilon)]
    mu, there = arrivals * at, arrivals * elsewhere
    for curve in curves:
        tangent = curve.value(mu) + curve.slope(mu) * (there - mu)
        assert tangent <= curve.value(there) + 1e-9 * max(1.0, abs(tangent))


@pytest.mark.parametrize("seed", range(3))
def test_the_least_factor_does_and_a_smaller_one_does_not(seed: int) -> None:
    problem = random_sharing(seed, services=3, ways=2)
    hasty = with_slos(problem, 0.3)
    everybody = frozenset(range(3))
    factor = loosest_factor(hasty, everybody)
    assert factor is not None
    assert factor >= 1.0
    assert solve_sharing(with_slos(problem, 0.3 * factor * 1.001), 100).sharing is not None
    if factor > 1.002:
        assert solve_sharing(with_slos(problem, 0.3 * factor * 0.998), 100).sharing is None


def with_slos(problem: SharingProblem, part: float) -> SharingProblem:
    """Every service with ``part`` of a second as its SLO."""

    def way(old: object) -> object:
        from dataclasses import replace

        service = old.option.service.model_copy(update={"slo_s": part})  # type: ignore[attr-defined]
        option = replace(old.option, service=service)  # type: ignore[attr-defined]
        return replace(old, option=option)  # type: ignore[type-var]

    ways = tuple(tuple(way(w) for w in ways) for ways in problem.ways)
    return SharingProblem(rounds=problem.rounds, ways=ways)  # type: ignore[arg-type]


def test_a_service_that_is_too_slow_alone_names_the_slo_that_would_do() -> None:
    error = refusal(one_device(slo_s=0.005))
    assert "alone in the fleet" in error.message
    assert float((error.hint or "").split(" is ")[1].split(" s")[0]) == pytest.approx(0.01)


def test_more_requests_than_a_device_stands_says_how_many_fit() -> None:
    error = refusal(one_device(rate_per_s=200.0))
    assert "device a would be busy 200%" in error.message
    assert float((error.hint or "").split()[2]) == pytest.approx(100.0)


def test_services_that_fit_alone_only_are_named_together() -> None:
    rounds = one_device().rounds
    users = [make_service(f"s{i}", rate_per_s=60.0) for i in range(2)]
    ways = tuple((make_way(user, {"a": 0.01}),) for user in users)
    error = refusal(SharingProblem(rounds=rounds, ways=ways))
    assert "s0, s1 do not fit together" in error.message


def test_without_a_share_what_needs_one_never_ends() -> None:
    seconds = Seconds(fixed=1.0, needed={("compute", "a"): 2.0, ("compute", "b"): 0.0})
    assert seconds.at({("compute", "a"): 0.5, ("compute", "b"): 0.0}) == 5.0
    assert seconds.at({("compute", "a"): 0.0}) == math.inf
