"""Plans without devices that are lost: against every chain that there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaisnet.errors import InfeasibleError, UsageError
from gaisnet.planner import CostModel, plan_inputs, read_inputs, replan
from gaisnet.planner.chains import Chain, residences, step_figures
from gaisnet.planner.predict import chain_of
from gaisnet.planner.robust import participants, with_fallbacks
from gaisnet.schema.files import canonical_json
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.plan import Plan
from tests.planner.factory import LINKS, make_device, make_fleet, make_job, make_model, write_files
from tests.planner.robust.cases import Case, Parts, jobs, judged, made, units_of

PROPERTY = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def attempt(case: Case, lost: str, weight: float) -> Plan | None:
    hints = []
    try:
        return replan(case.plan, [lost], case.inputs, bytes_weight=weight)
    except InfeasibleError as error:
        hints.append(error.hint)
    assert all(hints)
    return None


def pick_one(names: Sequence[str], pick: int) -> str:
    return names[pick % len(names)]


def price(case: Case, weight: float) -> float:
    """``weight`` old steps for all bytes of the model."""
    (cluster,) = case.plan.clusters
    cost = CostModel.from_inputs(case.inputs)
    chain = chain_of(cluster, case.inputs.job.fine_tuning)
    before = step_figures(cost, chain).value(case.plan.objective, len(chain.owners))
    return weight * before / sum(u.weight_bytes + u.optimizer_bytes for u in cost.model.units)


def averages(case: Case, chain: Chain, lost: str) -> bool:
    """Whether a server or an owner that is left reaches all devices of the chain."""
    able = {device.id for device in case.inputs.fleet.devices if device.tier != "end"}
    return any(reached(case, edge, chain) for edge in {*able, *chain.owners} - {lost})


def reached(case: Case, edge: str, chain: Chain) -> bool:
    cost = CostModel.from_inputs(case.inputs)
    devices = {*chain.owners, *(device for device, _, _ in chain.body)}
    return all(
        math.isfinite(cost.transfer_s(edge, d, 1) + cost.transfer_s(d, edge, 1)) for d in devices
    )


def check_sound(case: Case, after_loss: Plan, lost: str) -> None:
    """Nothing is on the lost device, and everything fits and is linked."""
    cost = CostModel.from_inputs(case.inputs)
    held: dict[str, list[object]] = {}
    for cluster in after_loss.clusters:
        chain = chain_of(cluster, case.inputs.job.fine_tuning)
        assert math.isfinite(step_figures(cost, chain).latency_s)
        for device, spans in residences(cost, chain).items():
            held.setdefault(device, []).extend(spans)
    assert lost not in {*participants(after_loss), *held}
    for device, spans in held.items():
        assert cost.memory(spans).total_bytes <= cost.devices[device].limit_bytes  # type: ignore[arg-type]


@PROPERTY
@given(parts=jobs(), pick=st.integers(0, 9), weight=st.sampled_from([0.0, 0.3, 1.0, 1e6]))
def test_a_replan_is_the_best_of_all_chains_or_there_is_none(
    tmp_path: Path, parts: Parts, pick: int, weight: float
) -> None:
    case = made(tmp_path, parts)
    if case is None:
        return
    lost = pick_one(participants(case.plan), pick)
    (cluster,) = case.plan.clusters
    found = [way for way in judged(case, cluster, [lost]) if averages(case, way.chain, lost)]
    after_loss = attempt(case, lost, weight)
    if after_loss is None:
        assert not found
        return
    check_sound(case, after_loss, lost)
    if not found:
        assert len(after_loss.clusters) > 1
        return
    (after,) = after_loss.clusters
    if lost not in units_of(cluster, case.plan.n_units):
        assert after.body == cluster.body
        assert after_loss.loss is not None
        assert after_loss.loss.moved_bytes == 0
        return
    found = [way for way in found if reached(case, after.edge, way.chain)]
    each = price(case, weight)
    best = min(way.value + each * way.moved_bytes for way in found)
    (proof,) = [c for c in after_loss.certificates if c.decision.startswith("re-plan")]
    assert proof.value == pytest.approx(best, rel=2e-6)
    assert proof.bound <= best * (1 + 1e-6)
    same = next(w for w in found if w.chain == chain_of(after, case.inputs.job.fine_tuning))
    assert same.value + each * same.moved_bytes == pytest.approx(best, rel=2e-6)
    assert after_loss.loss is not None
    assert after_loss.loss.moved_bytes == same.moved_bytes
    if weight == 1e6:
        assert same.moved_bytes == min(way.moved_bytes for way in found)


@settings(PROPERTY, max_examples=12)
@given(parts=jobs(clusters=2), pick=st.integers(0, 9))
def test_clusters_that_are_not_hit_stay_and_all_fits(
    tmp_path: Path, parts: Parts, pick: int
) -> None:
    case = made(tmp_path, parts)
    if case is None:
        return
    lost = pick_one(participants(case.plan), pick)
    after_loss = attempt(case, lost, 1.0)
    if after_loss is None:
        assert not any(list(judged(case, cluster, [lost])) for cluster in case.plan.clusters) or (
            len(case.plan.clusters) > 1
        )
        return
    check_sound(case, after_loss, lost)
    mended = any(c.decision.startswith("re-plan") for c in after_loss.certificates)
    after = {cluster.id: cluster for cluster in after_loss.clusters}
    for cluster in case.plan.clusters:
        hit = lost in units_of(cluster, case.plan.n_units)
        if mended and not hit and after[cluster.id].owners == cluster.owners:
            assert after[cluster.id].body == cluster.body
            assert after[cluster.id].head_units == cluster.head_units


@settings(PROPERTY, max_examples=3)
@given(parts=jobs())
def test_fallbacks_are_the_replans_of_every_device(tmp_path: Path, parts: Parts) -> None:
    case = made(tmp_path, parts)
    if case is None:
        return
    stored = with_fallbacks(case.plan, case.inputs)
    assert [fallback.lost for fallback in stored.fallbacks] == list(participants(case.plan))
    for fallback in stored.fallbacks:
        after_loss = attempt(case, fallback.lost, 1.0)
        assert fallback.feasible == (after_loss is not None)
        if after_loss is None:
            assert fallback.reason
            continue
        assert after_loss.loss is not None
        assert (fallback.takes, fallback.moved_bytes) == (
            after_loss.loss.takes,
            after_loss.loss.moved_bytes,
        )
        assert fallback.round_s == after_loss.predictions.round_s
    assert Plan.model_validate_json(canonical_json(stored)) == stored


def planned(folder: Path, fleet: Fleet, **job: object) -> Case:
    inputs = read_inputs(write_files(folder, make_job(**job), fleet, make_model(6)))
    return Case(inputs, plan_inputs(inputs, folder))


def two_edges(memory_bytes: int = 5_000, edge_bytes: int = 50_000) -> Fleet:
    devices = [
        make_device(f"d{i}", samples=40, memory_bytes=memory_bytes, edge=f"edge{i % 2}")
        for i in range(4)
    ]
    edges = [make_device(f"edge{i}", "edge", memory_bytes=edge_bytes) for i in range(2)]
    return Fleet(devices=(*devices, *edges), links=LINKS)


def test_a_lost_edge_server_leaves_its_cluster_to_the_other_one(tmp_path: Path) -> None:
    case = planned(tmp_path, two_edges(), clustering={"clusters": 2})
    after_loss = replan(case.plan, ["edge0"], case.inputs)
    assert {cluster.edge for cluster in after_loss.clusters} == {"edge1"}
    kept = next(c for c in case.plan.clusters if c.edge == "edge1")
    assert kept in after_loss.clusters
    assert "edge0" not in participants(after_loss)


def test_owners_without_room_of_their_own_join_another_cluster(tmp_path: Path) -> None:
    fleet = two_edges(memory_bytes=900, edge_bytes=12_000)
    fleet = fleet.model_copy(
        update={"links": tuple(x for x in LINKS if x.between != ("end", "end"))}
    )
    case = planned(tmp_path, fleet, clustering={"clusters": 2})
    after_loss = replan(case.plan, ["edge0"], case.inputs)
    (cluster,) = after_loss.clusters
    assert {owner.device for owner in cluster.owners} == {"d0", "d1", "d2", "d3"}
    assert cluster.edge == "edge1"


def test_a_cluster_whose_owners_are_all_gone_ends(tmp_path: Path) -> None:
    case = planned(tmp_path, make_fleet(4), clustering={"clusters": 4})
    gone = case.plan.clusters[0].owners[0].device
    after_loss = replan(case.plan, [gone], case.inputs)
    assert len(after_loss.clusters) == 3


def test_without_any_owner_nothing_can_be_done(tmp_path: Path) -> None:
    case = planned(tmp_path, make_fleet(1), clustering={"clusters": 1})
    with pytest.raises(InfeasibleError, match="owns data") as caught:
        replan(case.plan, ["d0"], case.inputs)
    assert caught.value.hint


def test_losses_add_up(tmp_path: Path) -> None:
    case = planned(tmp_path, make_fleet(4), clustering={"clusters": 1})
    once = replan(case.plan, ["d0"], case.inputs)
    twice = replan(once, ["d1"], case.inputs)
    assert twice.loss is not None
    assert twice.loss.lost == ("d0", "d1")
    assert {"d0", "d1"}.isdisjoint(participants(twice))


def test_services_of_a_lost_origin_are_gone_and_others_are_answered(tmp_path: Path) -> None:
    asked = [
        {"id": "here", "rate_per_s": 1.0, "origin": "d0"},
        {"id": "there", "rate_per_s": 1.0, "origin": "d1"},
    ]
    case = planned(tmp_path, make_fleet(4), clustering={"clusters": 1}, services=asked)
    after_loss = replan(case.plan, ["d0"], case.inputs)
    assert [route.service for route in after_loss.routes] == ["there"]


def test_a_device_that_the_fleet_lacks_cannot_be_lost(tmp_path: Path) -> None:
    case = planned(tmp_path, make_fleet(2))
    with pytest.raises(UsageError, match="ghost"):
        replan(case.plan, ["ghost"], case.inputs)


def test_a_replan_keeps_the_rules_of_the_job(tmp_path: Path) -> None:
    devices = [
        make_device("d0", samples=40, memory_bytes=900),
        make_device("a", memory_bytes=9_000, flops_per_s=1e12),
        make_device("b", memory_bytes=9_000, flops_per_s=1e12),
        make_device("c", memory_bytes=9_000, flops_per_s=1e8),
        make_device("e", memory_bytes=9_000, flops_per_s=1e7),
        make_device("edge0", "edge", memory_bytes=0),
    ]
    fleet = Fleet(devices=tuple(devices), links=LINKS)
    rules = {"apart_devices": [["b", "c"]]}
    case = planned(tmp_path, fleet, clustering={"clusters": 1}, constraints=rules)
    assert {stage.device for stage in case.plan.clusters[0].body} == {"a", "b"}
    after_loss = replan(case.plan, ["a"], case.inputs)
    assert {stage.device for stage in after_loss.clusters[0].body} == {"b", "e"}


@pytest.mark.parametrize("scheme", ["fl", "sl", "sfl-v1", "sfl-v2", "central"])
def test_every_scheme_bears_the_loss_of_an_owner(tmp_path: Path, scheme: str) -> None:
    roomy = make_fleet(4, memory_bytes=(20_000, 30_000))
    case = planned(tmp_path, roomy, scheme=scheme)
    after_loss = replan(case.plan, ["d1"], case.inputs)
    shards = {shard for c in after_loss.clusters for owner in c.owners for shard in owner.shards}
    assert shards == {"d0", "d2", "d3"}
    assert after_loss.scheme == scheme


def test_the_same_loss_gives_the_same_bytes(tmp_path: Path) -> None:
    case = planned(tmp_path, make_fleet(4), clustering={"clusters": 2})
    first, second = (replan(case.plan, ["edge0"], case.inputs) for _ in range(2))
    assert canonical_json(first) == canonical_json(second)
