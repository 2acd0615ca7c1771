"""Plans whose shares are their own decision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gaisnet.errors import InfeasibleError
from gaisnet.planner import plan
from gaisnet.planner.chains import step_figures
from gaisnet.planner.cost import CostModel
from gaisnet.planner.predict import chain_of
from gaisnet.planner.sharing.rounds import round_lengths
from gaisnet.planner.sharing.seconds import Paces, Resource
from gaisnet.schema.plan import Plan
from tests.planner.factory import make_cost, make_fleet, make_job, make_model, write_files

SERVICES: list[dict[str, Any]] = [
    {"id": "s0", "rate_per_s": 20.0, "slo_s": 0.012, "origin": "d0"},
    {"id": "s1", "rate_per_s": 21.0, "origin": "d1"},
    {"id": "s2", "rate_per_s": 22.0, "slo_s": 0.2, "slo_percentile": 95.0, "origin": "d2"},
]


def planned(tmp_path: Path, services: list[dict[str, Any]] = SERVICES, **changes: Any) -> Plan:
    job = make_job(services=services, clustering={"clusters": 2}, **changes)
    return plan(write_files(tmp_path, job, make_fleet(4), make_model(6)))


def shared_cost(found: Plan, user: str) -> CostModel:
    job = make_job(services=SERVICES)
    return make_cost(job, make_fleet(4), make_model(6)).at_plan_shares(user, found.shares)


def test_slos_hold_and_every_device_is_given_away(tmp_path: Path) -> None:
    found = planned(tmp_path)
    assert all(service.meets_slo for service in found.predictions.services)
    assert found.predictions.services[0].mean_s <= 0.012
    for device in {share.device for share in found.shares}:
        for kind in ("compute", "link"):
            total = sum(getattr(s, kind) for s in found.shares if s.device == device)
            assert total == pytest.approx(1.0)
    proof = found.certificates[-1]
    assert proof.status == "optimal"
    assert proof.bound <= proof.value


def test_shares_of_its_own_meet_what_a_fixed_share_cannot(tmp_path: Path) -> None:
    hasty = [{**SERVICES[0], "slo_s": 0.005}, *SERVICES[1:]]
    with pytest.raises(InfeasibleError, match="s0"):
        planned(tmp_path / "fixed", hasty, inference_share=0.2)
    assert planned(tmp_path / "own", hasty).predictions.services[0].meets_slo


def test_with_slos_alone_fine_tuning_gets_more_than_a_fixed_share_leaves(tmp_path: Path) -> None:
    patient = [{**service, "slo_s": 0.2, "delay_weight": 0.0} for service in SERVICES]
    own = planned(tmp_path / "own", patient)
    fixed = planned(tmp_path / "fixed", patient, inference_share=0.2)
    assert all(service.meets_slo for service in own.predictions.services)
    assert own.predictions.round_s < fixed.predictions.round_s


def test_idle_latencies_are_those_of_the_cost_model_at_the_shares(tmp_path: Path) -> None:
    """What the executor's virtual clock adds up for a lone request."""
    from gaisnet.planner.routing.options import visits_of

    found = planned(tmp_path)
    for service, route, predicted in zip(
        make_job(services=SERVICES).services,
        found.routes,
        found.predictions.services,
        strict=True,
    ):
        cluster = next(c for c in found.clusters if c.id == route.cluster)
        cost = shared_cost(found, service.id)
        lone_s = sum(s for _, s in visits_of(cost, cluster, route.entry, service))
        assert predicted.service_s == pytest.approx(lone_s)


def test_the_loosest_slo_that_is_named_would_do(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="service s0: its mean") as caught:
        planned(tmp_path, [{**SERVICES[0], "slo_s": 1e-6}, *SERVICES[1:]])
    loosest = float((caught.value.hint or "").split(" is ")[1].split(" s")[0])
    again = planned(tmp_path, [{**SERVICES[0], "slo_s": loosest * 1.05}, *SERVICES[1:]])
    assert again.predictions.services[0].meets_slo


def test_a_device_with_a_price_is_worth_more_of(tmp_path: Path) -> None:
    found = planned(tmp_path)
    prices = {(p.device, p.resource): p.round_s_per_percent for p in found.prices}
    assert all(price > 0.0 for price in prices.values())
    assert max(prices, key=lambda key: prices[key])[0] == "edge0"


def test_a_service_without_slo_and_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs slo_s or a delay_weight"):
        planned(tmp_path, [{"id": "s", "rate_per_s": 1.0, "delay_weight": 0.0}])


@pytest.mark.parametrize("intra", ["sequential", "merge"])
@pytest.mark.parametrize("microbatches", [1, 4])
def test_the_length_of_a_round_is_that_of_its_steps(intra: str, microbatches: int) -> None:
    """At any uniform share: makespans, updates and averaging, nothing else."""
    tuning = {"batch_size": 8, "local_steps": 3, "intra": intra, "microbatches": microbatches}
    job = make_job(fine_tuning=tuning)
    cost = make_cost(job, make_fleet(4), make_model(6))
    clusters = [
        cluster.model_copy(update={"intra": intra, "microbatches": microbatches})
        for cluster in two_clusters()
    ]
    lengths = round_lengths(Paces(cost), clusters, "edge0", job.fine_tuning)
    for part in (1.0, 0.4):
        shares: dict[Resource, float] = {r: part for length in lengths for r in length.resources()}
        for cluster, length in zip(clusters, lengths, strict=False):
            chain = chain_of(cluster, job.fine_tuning)
            makespan_s = step_figures(cost.at_share(part), chain).makespan_s
            steps_s = 3 * makespan_s
            assert length.at(shares) > steps_s
            without = length.at(shares) - steps_s
            assert without < 0.5 * length.at(shares)
            assert length.at(shares) == pytest.approx(
                steps_s + rest_s(cost.at_share(part), clusters, cluster, job), rel=1e-9
            )


def rest_s(cost: CostModel, clusters: list[Any], cluster: Any, job: Any) -> float:
    """Optimizer steps, averaging and the cloud, as the prediction of a round has them."""
    from gaisnet.planner.predict import rounds

    chain = chain_of(cluster, job.fine_tuning)
    updates_s = 3 * rounds._updates_s(cost, chain)
    return (
        updates_s
        + rounds._averaging_s(cost, cluster)
        + rounds._cloud_s(cost, ["edge0"], "edge0", job.fine_tuning)
    )


def two_clusters() -> list[Any]:
    from gaisnet.schema.plan import ClusterPlan, Owner, Stage

    return [
        ClusterPlan(
            id=name,
            edge="edge0",
            domain="general",
            owners=tuple(Owner(device=o, shards=(o,), samples=40) for o in owners),
            head_units=2,
            tail_first_unit=5,
            body=(
                Stage(device=holder, first_unit=2, last_unit=3),
                Stage(device="edge0", first_unit=4, last_unit=4),
            ),
            intra="sequential",
        )
        for name, owners, holder in (("c0", ("d0", "d1"), "d1"), ("c1", ("d2",), "d3"))
    ]
