"""Step and round figures by hand, and the wait of clusters for one another."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.planner.chains import Chain, step_figures
from gaisnet.planner.cost import CostModel
from gaisnet.planner.cost.traffic import bytes_by_link, cluster_round_messages
from gaisnet.planner.predict import predict_round, round_links
from gaisnet.planner.predict.contention import waiting_s
from gaisnet.schema.job import FineTuning
from gaisnet.schema.plan import ClusterPlan, Owner, Stage
from tests.planner.factory import make_cost, make_fleet, make_job, make_model

CHAIN = Chain(
    owners=("d0",),
    head_units=2,
    tail_first_unit=5,
    body=(("d1", 2, 3), ("edge0", 4, 4)),
    intra="sequential",
    microbatches=2,
    batch_size=8,
)
SHORT = replace(CHAIN, body=(("edge0", 2, 4),), microbatches=1)
END_S, EDGE_S = 0.001 + 512 / 1e6, 0.002 + 512 / 1e6
"""One micro-batch of four samples between end devices, and from one to the edge."""


@pytest.fixture
def cost() -> CostModel:
    return make_cost(make_job(), make_fleet(), make_model(6))


def test_a_turn_by_hand(cost: CostModel) -> None:
    figures = step_figures(cost, CHAIN)
    own = 4 * (0.1e6 + 2.2e6 + 0.22e6) / 1e9
    first, second = 4 * 2 * 2.2e6 / 2e9, 4 * 2.2e6 / 1e10
    latency = own + first + second + 2 * END_S + 2 * EDGE_S + 2 * EDGE_S
    assert figures.latency_s == pytest.approx(latency)
    assert figures.period_s == pytest.approx(max(own, first, second, 2 * EDGE_S))
    assert figures.makespan_s == pytest.approx(latency + figures.period_s)
    assert figures.busy_s == pytest.approx({"d0": 2 * own, "d1": 2 * first, "edge0": 2 * second})
    flops = 4 * (0.1e6 + 2.2e6 + 0.22e6 + 3 * 2.2e6)
    assert figures.energy_j == pytest.approx(2 * flops * 1e-9)


def test_the_vanilla_topology_sends_labels_instead_of_hidden_states(cost: CostModel) -> None:
    chain = replace(CHAIN, tail_first_unit=6, body=(("edge0", 2, 5),), microbatches=1)
    own = 8 * (0.1e6 + 2.2e6) / 1e9
    body = 8 * (3 * 2.2e6 + 0.22e6) / 1e10
    labels = 0.002 + 64 / 1e6
    expected = own + body + 2 * (0.002 + 1024 / 1e6) + labels
    assert step_figures(cost, chain).latency_s == pytest.approx(expected)


def test_sequential_owners_add_up(cost: CostModel) -> None:
    alone = [step_figures(cost, replace(CHAIN, owners=(o,))) for o in ("d0", "d2", "d3")]
    both = step_figures(cost, replace(CHAIN, owners=("d0", "d2", "d3")))
    assert both.makespan_s == pytest.approx(sum(f.makespan_s for f in alone))
    assert both.energy_j == pytest.approx(sum(f.energy_j for f in alone))
    assert both.latency_s == pytest.approx(sum(f.latency_s for f in alone) / 3)


def test_merging_one_owner_changes_nothing(cost: CostModel) -> None:
    assert step_figures(cost, replace(CHAIN, intra="merge")) == step_figures(cost, CHAIN)


def test_merged_owners_wait_for_the_slowest_head_and_share_the_body(cost: CostModel) -> None:
    merged = step_figures(cost, replace(CHAIN, owners=("d0", "d2"), intra="merge"))
    apart = step_figures(cost, replace(CHAIN, owners=("d0", "d2")))
    slowest = step_figures(cost, replace(CHAIN, owners=("d2",)))
    assert merged.energy_j == pytest.approx(apart.energy_j)
    assert merged.makespan_s < apart.makespan_s
    assert merged.latency_s > slowest.latency_s


def test_part_of_a_holders_speed_slows_its_stages(cost: CostModel) -> None:
    slow = step_figures(cost, CHAIN, {"edge0": 0.5})
    assert slow.latency_s == pytest.approx(step_figures(cost, CHAIN).latency_s + 4 * 2.2e6 / 1e10)


def test_clusters_without_common_devices_do_not_wait() -> None:
    assert waiting_s([1.0, 2.0], [{"a": 0.5}, {"b": 1.0}], [2, 2]) == [0.0, 0.0]


def test_clusters_that_need_a_device_all_the_time_wait_for_all_its_work() -> None:
    waits = waiting_s([1.0, 1.0, 1.0], [{"a": 1.0}] * 3, [2, 2, 2])
    assert all(1.0 + wait >= 3.0 - 1e-9 for wait in waits)


@settings(max_examples=60, deadline=None)
@given(
    demands=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6),
    visits=st.integers(1, 20),
)
def test_waits_lie_between_no_queue_and_everybodys_work(demands: list[float], visits: int) -> None:
    cycles = [demand + 0.5 for demand in demands]
    waits = waiting_s(cycles, [{"s": d} for d in demands], [visits] * len(demands))
    for cycle, demand, wait in zip(cycles, demands, waits, strict=True):
        assert wait >= 0.0
        if demand > 0.0:
            assert cycle + wait >= sum(demands) - 1e-9


def cluster(name: str, *owners: str, **changes: object) -> ClusterPlan:
    return ClusterPlan(
        id=name,
        edge="edge0",
        domain="general",
        owners=tuple(Owner(device=o, shards=(o,), samples=40) for o in owners),
        head_units=2,
        tail_first_unit=5,
        body=(Stage(device="edge0", first_unit=2, last_unit=4),),
        intra="sequential",
        **changes,  # type: ignore[arg-type]
    )


def test_a_round_is_the_slowest_clusters_steps_and_averaging(cost: CostModel) -> None:
    tuning = FineTuning(batch_size=8, local_steps=3)
    found = predict_round(cost, [cluster("c0", "d0"), cluster("c1", "d2", "d1")], "edge0", tuning)
    assert [step.cluster for step in found.steps] == ["c0", "c1"]
    down_and_up = 2 * (0.002 + 200 / 1e6)
    assert found.aggregation_s == pytest.approx(down_and_up)
    slower = step_figures(cost, replace(SHORT, owners=("d2", "d1")))
    ahead = min(slower.ahead_s, slower.duplex_s - slower.busy_s["d2"])
    expected = 3 * found.steps[1].makespan_s + ahead / 2 + down_and_up
    assert found.round_s == pytest.approx(expected)
    alone = predict_round(cost, [cluster("c1", "d2", "d1")], "edge0", tuning)
    assert found.steps[1].makespan_s > alone.steps[0].makespan_s


def test_while_one_owners_batch_is_in_the_body_the_next_owners_head_works(cost: CostModel) -> None:
    tuning = FineTuning(batch_size=8, local_steps=1)
    figures = step_figures(cost, replace(SHORT, owners=("d0", "d1")))
    head_s = 8 * (0.1e6 + 1e6 + 1.2e6) * (1 / 1e9 + 1 / 2e9)
    assert figures.ahead_s == pytest.approx(head_s + 4 * (0.002 + 1024 / 1e6))
    plans = [cluster("c0", "d0", "d1"), cluster("c0", "d0", "d1", handover="relay")]
    turns, relay = (predict_round(cost, [plan], "edge0", tuning).steps[0] for plan in plans)
    assert relay.makespan_s == pytest.approx(figures.duplex_s)
    assert turns.makespan_s == pytest.approx(figures.duplex_s - figures.ahead_s)


def test_links_that_carry_both_ways_at_once_shorten_the_pipeline(cost: CostModel) -> None:
    slow = replace(CHAIN, body=(("edge0", 2, 4),), microbatches=8, batch_size=8)
    figures = step_figures(cost, slow)
    assert figures.period_s == pytest.approx(2 * (0.002 + 128 / 1e6))
    assert figures.makespan_s - figures.duplex_s == pytest.approx(
        7 * (figures.period_s - max(figures.period_s / 2, 2.52e6 / 1e9))
    )


def test_handing_modules_on_takes_one_owner_after_the_other(cost: CostModel) -> None:
    tuning = FineTuning(batch_size=8)
    average = predict_round(cost, [cluster("c0", "d0", "d1", "d2")], "edge0", tuning)
    relay = predict_round(
        cost, [cluster("c0", "d0", "d1", "d2", handover="relay")], "edge0", tuning
    )
    assert relay.aggregation_s == pytest.approx(3 * average.aggregation_s)


def test_an_average_at_the_cloud_every_few_rounds_counts_in_part(cost: CostModel) -> None:
    every = [
        predict_round(
            cost, [cluster("c0", "d0")], "d3", FineTuning(batch_size=8, cloud_every=rounds)
        ).aggregation_s
        for rounds in (1, 2)
    ]
    at_edge = predict_round(cost, [cluster("c0", "d0")], "edge0", FineTuning(batch_size=8))
    assert every[0] - at_edge.aggregation_s == pytest.approx(2 * (every[1] - at_edge.aggregation_s))


def test_link_predictions_are_the_sums_of_the_messages(cost: CostModel) -> None:
    tuning = FineTuning(batch_size=8, local_steps=3)
    clusters = [cluster("c0", "d0"), cluster("c1", "d2", "d1")]
    links = round_links(cost, clusters, "edge0", tuning, {f"d{i}": 40 for i in range(4)})
    expected = bytes_by_link(m for c in clusters for m in cluster_round_messages(cost, c, tuning))
    assert {(p.sender, p.receiver): p.payload_bytes_per_round for p in links} == expected
    to_edge = next(p for p in links if (p.sender, p.receiver) == ("d0", "edge0"))
    frames = 3 * 2 + 1
    assert to_edge.transfer_s_per_round == pytest.approx(
        frames * 0.002 + to_edge.payload_bytes_per_round / 1e6
    )
