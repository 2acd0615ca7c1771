"""The trade-off against closed forms, grids, enumeration, finite differences and simulation."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import simpy
from pydantic import ValidationError

from gaisnet.planner.tradeoff import TradeoffProblem, solve_tradeoff
from gaisnet.planner.tradeoff.curves import mean_s, percentile_s, tail_margin, utility
from gaisnet.planner.tradeoff.instance import instance_of
from gaisnet.planner.tradeoff.kelley import Search
from gaisnet.planner.tradeoff.master import Master
from gaisnet.planner.tradeoff.shares import solve_shares
from tests.planner.tradeoff.factory import (
    make_cluster,
    make_group,
    make_load,
    make_problem,
    random_problem,
)


def best_by_enumeration(problem: TradeoffProblem) -> float:
    """Every support of a single-homed problem, each with its best shares."""
    instance = instance_of(problem)
    choices = [np.flatnonzero(instance.pairs.group == g) for g in range(len(problem.groups))]
    best = -math.inf
    for support in itertools.product(*choices):
        shares = solve_shares(instance, np.array(support)).shares
        best = best if shares is None else max(best, shares.value)
    return best


def test_without_groups_fine_tuning_gets_everything() -> None:
    solution = solve_tradeoff(make_problem(clusters=2))
    assert solution.status == "optimal"
    for shares in solution.shares:
        assert shares.compute_share == pytest.approx(1.0, abs=1e-6)
        assert shares.rounds_per_s == pytest.approx(1.0 / (1.0 + 50.0 / 80.0), rel=1e-6)
    assert solution.value == pytest.approx(2 * utility(make_load(), 1.0 / 1.625), rel=1e-6)


def test_percentile_of_one_queue_has_a_closed_form() -> None:
    """One queue, one group: its share is (λ + ln(1/ε)/t) w / S, fine-tuning gets the rest."""
    group = make_group(request_bytes=0.0, slo_percentile=95.0, slo_s=1.0)
    load = make_load(traffic_bytes=0.0)
    problem = make_problem(group, clusters=1)
    cluster = make_cluster(tuning=load)
    solution = solve_tradeoff(problem.model_copy(update={"clusters": (cluster,)}))
    share = (2.0 + math.log(20.0)) * 10.0 / 100.0
    assert solution.routes[0].compute_share == pytest.approx(share, rel=1e-5)
    assert solution.shares[0].compute_share == pytest.approx(1.0 - share, rel=1e-5)
    assert solution.routes[0].percentile_s == pytest.approx(1.0, rel=1e-5)
    assert solution.value == pytest.approx(utility(load, 1.0 - share), rel=1e-5)


def test_mean_of_a_constant_service_has_a_closed_form() -> None:
    """M/D/1: 1/μ + λ / (2 μ (μ - λ)) = t is a quadratic in μ."""
    group = make_group(request_bytes=0.0, service_scv=0.0, slo_s=0.5)
    solution = solve_tradeoff(make_problem(group))
    t, rate = 0.5, 2.0
    b = -(2.0 * t * rate + 2.0)
    speed = (-b + math.sqrt(b * b - 8.0 * t * rate)) / (4.0 * t)
    assert solution.routes[0].compute_share == pytest.approx(speed * 10.0 / 100.0, rel=1e-4)
    assert solution.routes[0].mean_s == pytest.approx(0.5, rel=1e-5)


def test_shares_agree_with_a_brute_force_grid() -> None:
    """One cluster, one group: no grid point is better, and one comes close."""
    group = make_group(slo_s=0.6, delay_weight=0.3)
    solution = solve_tradeoff(make_problem(group))
    grid = np.linspace(0.005, 0.995, 199)
    load, best = make_load(), -math.inf
    for phi, psi in itertools.product(grid, grid):
        late = mean_s(group, 2.0, [phi * 10.0, psi * 16.0])
        if late <= 0.6:
            rate = 1.0 / (100.0 / (100.0 * (1 - phi)) + 50.0 / (80.0 * (1 - psi)))
            best = max(best, utility(load, rate) - 0.3 * late)
    assert solution.value is not None
    assert best - 1e-7 <= solution.value <= best + 2e-3


@pytest.mark.parametrize("seed", range(3))
def test_routing_is_that_of_the_enumeration(seed: int) -> None:
    problem = random_problem(seed, clusters=2, groups=3)
    solution = solve_tradeoff(problem)
    best = best_by_enumeration(problem)
    assert solution.status == "optimal"
    assert solution.value is not None
    assert solution.bound is not None
    assert best * (1 - 1e-3) - 1e-6 <= solution.value <= best + 1e-6
    assert solution.bound >= best - 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_the_relaxation_bounds_every_routing(seed: int) -> None:
    """Before any incumbent could hide a tangent on the wrong side."""
    problem = random_problem(seed, clusters=2, groups=2)
    instance = instance_of(problem)
    search = Search(instance=instance, master=Master(instance), target=1e-3)
    search.relax()
    best = best_by_enumeration(problem)
    assert best - 1e-6 <= search.bound <= best + 0.1 * abs(best)


@pytest.mark.parametrize("overlapped", [False, True])
def test_the_relaxation_is_tight_without_groups(overlapped: bool) -> None:
    cluster = make_cluster(tuning=make_load(overlapped=overlapped))
    problem = TradeoffProblem(clusters=(cluster,))
    instance = instance_of(problem)
    search = Search(instance=instance, master=Master(instance), target=1e-3)
    search.relax()
    rate = 1.0 if overlapped else 1.0 / 1.625
    assert search.bound == pytest.approx(utility(make_load(), rate), rel=1e-4)


@pytest.mark.parametrize("routing", ["single", "fractional"])
def test_everybody_is_served_within_the_resources(routing: str) -> None:
    problem = random_problem(5, clusters=3, groups=5, routing=routing)
    solution = solve_tradeoff(problem)
    assert solution.status == "optimal"
    for group in problem.groups:
        mine = [route for route in solution.routes if route.group == group.id]
        assert sum(route.rate_per_s for route in mine) == pytest.approx(group.rate_per_s, rel=1e-6)
        assert routing == "fractional" or len(mine) == 1
        assert group.slo_s is not None
        for route in mine:
            late = route.mean_s if route.percentile_s is None else route.percentile_s
            assert late <= group.slo_s * (1 + 1e-5)
    for shares in solution.shares:
        here = [route for route in solution.routes if route.cluster == shares.cluster]
        assert shares.compute_share + sum(r.compute_share for r in here) <= 1 + 1e-6
        assert shares.uplink_share + sum(r.uplink_share for r in here) <= 1 + 1e-6


def test_a_group_too_big_for_any_cluster_is_split_if_it_may_be() -> None:
    group = make_group(rate_per_s=14.0, slo_s=3.0)
    assert solve_tradeoff(make_problem(group, clusters=2)).status == "infeasible"
    split = solve_tradeoff(make_problem(group, clusters=2, routing="fractional"))
    assert split.status == "optimal"
    assert len(split.routes) == 2


def test_splitting_is_never_worth_less() -> None:
    single = solve_tradeoff(random_problem(2, clusters=2, groups=2))
    split = solve_tradeoff(random_problem(2, clusters=2, groups=2, routing="fractional"))
    assert single.value is not None
    assert split.value is not None
    assert split.value >= single.value * (1 - 2e-3)


@pytest.mark.parametrize("resource", ["compute_flops_per_s", "uplink_bytes_per_s"])
def test_prices_are_what_more_of_a_resource_buys(resource: str) -> None:
    problem = random_problem(1, clusters=2, groups=3)
    solution = solve_tradeoff(problem)
    instance = instance_of(problem)
    served = {(route.group, route.cluster) for route in solution.routes}
    used = [
        p
        for p, (g, c) in enumerate(zip(instance.pairs.group, instance.pairs.cluster, strict=True))
        if (problem.groups[g].id, problem.clusters[c].id) in served
    ]

    def value(change: float) -> float:
        cluster = problem.clusters[0]
        more = cluster.model_copy(update={resource: getattr(cluster, resource) + change})
        changed = problem.model_copy(update={"clusters": (more, *problem.clusters[1:])})
        shares = solve_shares(instance_of(changed), np.array(used)).shares
        assert shares is not None
        return shares.value

    difference = (value(0.1) - value(-0.1)) / 0.2
    compute = resource == "compute_flops_per_s"
    price = solution.shares[0].compute_price if compute else solution.shares[0].uplink_price
    assert price == pytest.approx(difference, rel=2e-2, abs=1e-6)


def test_modules_of_a_domain_count_once_per_cluster() -> None:
    groups = [make_group(f"g{i}", domain="ab"[i % 2], rate_per_s=0.5) for i in range(4)]
    tight = make_cluster("c0", memory_bytes=10.0), make_cluster("c1", memory_bytes=10.0)
    problem = make_problem(*groups, modules_bytes={"a": 7.0, "b": 6.0})
    solution = solve_tradeoff(problem.model_copy(update={"clusters": tight}))
    assert solution.status == "optimal"
    assert sorted(shares.domains for shares in solution.shares) == [("a",), ("b",)]
    one = problem.model_copy(update={"clusters": tight[:1]})
    assert solve_tradeoff(one).status == "infeasible"


def simulate(rate: float, speeds: list[float], scv: float, requests: int) -> np.ndarray[Any, Any]:
    """Sojourn times in queues in tandem, by discrete events; constant or exponential services."""
    draw = np.random.default_rng(7)
    env, times = simpy.Environment(), np.zeros(requests)
    queues = [simpy.Resource(env) for _ in speeds]

    def request(i: int) -> Any:
        start = env.now
        for queue, speed in zip(queues, speeds, strict=True):
            with queue.request() as turn:
                yield turn
                yield env.timeout(draw.exponential(1.0 / speed) if scv else 1.0 / speed)
        times[i] = env.now - start

    def arrivals() -> Any:
        for i in range(requests):
            yield env.timeout(draw.exponential(1.0 / rate))
            env.process(request(i))

    env.process(arrivals())
    env.run()
    return times[requests // 10 :]


@pytest.mark.parametrize(("scv", "request_bytes"), [(1.0, 5.0), (0.0, 0.0)])
def test_latencies_are_those_of_simulated_queues(scv: float, request_bytes: float) -> None:
    group = make_group(service_scv=scv, request_bytes=request_bytes, slo_s=1.5, slo_percentile=95.0)
    route = solve_tradeoff(make_problem(group, percentile_rule="independent")).routes[0]
    speeds = [10.0 * route.compute_share, 16.0 * route.uplink_share][: 1 + (request_bytes > 0)]
    times = simulate(2.0, speeds, scv, 25_000)
    assert route.mean_s == pytest.approx(times.mean(), rel=0.1)
    assert route.percentile_s == pytest.approx(np.quantile(times, 0.95), rel=0.1)
    assert np.quantile(times, 0.95) <= 1.5 * 1.05


@pytest.mark.parametrize("rule", ["union", "independent"])
def test_margins_keep_the_percentile_of_two_exponential_queues(rule: str) -> None:
    group = make_group(slo_s=2.0, slo_percentile=99.0)
    margin = tail_margin(group, 2, rule)
    late = (1.0 + margin * 2.0) * math.exp(-margin * 2.0)
    assert late <= 0.01 * (1 + 1e-9)
    if rule == "independent":
        assert late == pytest.approx(0.01, rel=1e-9)
        assert margin < tail_margin(group, 2, "union")


def test_percentile_of_one_exponential_queue_is_exact() -> None:
    group = make_group()
    assert percentile_s(group, 2.0, [5.0], 90.0) == pytest.approx(math.log(10.0) / 3.0, rel=1e-9)


def test_infeasible_alone_names_the_slo_that_would_do() -> None:
    """A cluster alone has μ = 10 and ν = 16: the mean is 1/8 + 1/14 at best."""
    solution = solve_tradeoff(make_problem(make_group("fine"), make_group("hasty", slo_s=0.1)))
    assert solution.status == "infeasible"
    assert solution.looser_slo is not None
    assert (solution.looser_slo.group, solution.looser_slo.beside) == ("hasty", "alone")
    assert solution.looser_slo.slo_s == pytest.approx(1 / 8 + 1 / 14, rel=3e-3)


def test_infeasible_together_names_an_slo_that_does() -> None:
    groups = [make_group(f"g{i}", slo_s=0.35) for i in range(2)]
    solution = solve_tradeoff(make_problem(*groups))
    assert solution.status == "infeasible"
    looser = solution.looser_slo
    assert looser is not None
    assert looser.slo_s is not None
    assert looser.beside == "others as they are"
    mended = [
        g.model_copy(update={"slo_s": looser.slo_s}) if g.id == looser.group else g for g in groups
    ]
    assert solve_tradeoff(make_problem(*mended)).status in ("optimal", "feasible")


def test_overload_has_no_slo_that_would_do() -> None:
    solution = solve_tradeoff(make_problem(make_group(rate_per_s=10.0)))
    assert solution.status == "infeasible"
    assert solution.looser_slo is not None
    assert solution.looser_slo.slo_s is None


def test_a_group_without_clusters_is_named() -> None:
    solution = solve_tradeoff(make_problem(make_group("lonely", clusters=())))
    assert solution.status == "infeasible"
    assert "lonely: no cluster may serve it" in (solution.reason or "")


@pytest.mark.parametrize(
    "changes",
    [
        {"rate_per_s": 0.0},
        {"rate_per_s": math.nan},
        {"work_flops": math.inf},
        {"work_flops": 0.0, "request_bytes": 0.0},
        {"slo_s": None},
        {"slo_percentile": 100.0},
    ],
)
def test_senseless_groups_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_group(**changes)


def test_unknown_clusters_and_double_ids_are_refused() -> None:
    with pytest.raises(ValidationError, match="there is no cluster 'x'"):
        make_problem(make_group(clusters=("x",)))
    with pytest.raises(ValidationError, match="'g0' is used twice"):
        make_problem(make_group(), make_group())


def test_large_problems_are_improved_towards_the_bound_of_the_relaxation() -> None:
    problem = random_problem(4, clusters=3, groups=9)
    whole = solve_tradeoff(problem)
    large = solve_tradeoff(problem.model_copy(update={"exact_up_to_pairs": 0}))
    assert whole.value is not None
    assert large.value is not None
    assert large.bound is not None
    assert large.value <= (whole.bound or 0.0) + 1e-6
    assert large.bound >= whole.value - 1e-6
    assert large.value >= whole.value * 0.98


def test_importing_the_planner_does_not_import_cvxpy() -> None:
    code = "import sys, gaisnet.planner; sys.exit('cvxpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_equal_problems_have_equal_solutions() -> None:
    first, second = (solve_tradeoff(random_problem(6, clusters=2, groups=4)) for _ in range(2))
    assert first.model_dump_json() == second.model_dump_json()
