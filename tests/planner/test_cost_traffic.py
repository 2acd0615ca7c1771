"""Payload bytes of HFSL's messages, counted by hand."""

from __future__ import annotations

import pytest

from gaisnet.planner.cost import CostModel
from gaisnet.planner.cost.traffic import (
    body_messages,
    bytes_by_link,
    cloud_messages,
    cluster_round_messages,
    module_messages,
    owner_messages,
    upload_messages,
)
from gaisnet.schema.job import FineTuning
from gaisnet.schema.plan import ClusterPlan, Owner, Stage
from tests.planner.factory import make_cost, make_fleet, make_job, make_model

HIDDEN = 128
"""Bytes of one sample's hidden state (and gradient)."""


def cost(**changes: object) -> CostModel:
    return make_cost(make_job(), make_fleet(), make_model(6, **changes))


def cluster(head: int, tail: int, body: list[tuple[str, int, int]], *owners: str) -> ClusterPlan:
    return ClusterPlan(
        id="c0",
        edge="edge0",
        domain="general",
        owners=tuple(Owner(device=o, shards=(o,), samples=40) for o in owners),
        head_units=head,
        tail_first_unit=tail,
        body=tuple(Stage(device=d, first_unit=i, last_unit=j) for d, i, j in body),
        intra="sequential",
    )


def test_u_shape_sends_hidden_states_and_gradients_at_both_ends() -> None:
    plan = cluster(2, 5, [("d1", 2, 3), ("edge0", 4, 4)], "d0")
    found = bytes_by_link(owner_messages(cost(), plan, "d0", 3))
    assert found == {
        ("d0", "d1"): 3 * HIDDEN,
        ("d1", "d0"): 3 * HIDDEN,
        ("edge0", "d0"): 3 * HIDDEN,
        ("d0", "edge0"): 3 * HIDDEN,
    }


def test_no_gradient_crosses_a_cut_with_nothing_tuned_below() -> None:
    plan = cluster(1, 5, [("edge0", 1, 4)], "d0")
    found = bytes_by_link(owner_messages(cost(), plan, "d0", 3))
    assert found == {("d0", "edge0"): 2 * 3 * HIDDEN, ("edge0", "d0"): 3 * HIDDEN}


def test_labels_travel_under_vanilla_alone() -> None:
    vanilla = cluster(2, 6, [("d1", 2, 3), ("edge0", 4, 5)], "d0")
    kinds = {m.kind: m for m in owner_messages(cost(), vanilla, "d0", 3)}
    assert kinds["labels"].receiver == "edge0"
    assert kinds["labels"].payload_bytes == 3 * 8
    u_shape = cluster(2, 5, [("edge0", 2, 4)], "d0")
    assert "labels" not in {m.kind for m in owner_messages(cost(), u_shape, "d0", 3)}


def test_side_inputs_go_to_body_stages_but_not_back_to_the_tail() -> None:
    plan = cluster(2, 5, [("d1", 2, 3), ("edge0", 4, 4)], "d0")
    figures = cost(side_input_bytes=32)
    messages = [*owner_messages(figures, plan, "d0", 3), *body_messages(figures, plan, 3)]
    sides = [(m.sender, m.receiver, m.payload_bytes) for m in messages if m.kind == "side_inputs"]
    assert sides == [("d0", "d1", 96), ("d1", "edge0", 96)]


def test_an_owner_that_holds_the_first_stage_sends_nothing_to_itself() -> None:
    plan = cluster(2, 5, [("d0", 2, 3), ("edge0", 4, 4)], "d0", "d1")
    senders = {m.sender for m in owner_messages(cost(), plan, "d0", 3)}
    assert bytes_by_link(owner_messages(cost(), plan, "d0", 3)) == {
        ("edge0", "d0"): 3 * HIDDEN,
        ("d0", "edge0"): 3 * HIDDEN,
    }
    assert senders == {"edge0", "d0"}


def test_modules_go_down_to_every_stage_and_up_again() -> None:
    plan = cluster(2, 5, [("d1", 2, 3), ("edge0", 4, 4)], "d0", "d1")
    assert bytes_by_link(module_messages(cost(), plan)) == {
        ("d0", "edge0"): 200,
        ("d1", "edge0"): 200 + 200,
        ("edge0", "d0"): 200,
        ("edge0", "d1"): 200 + 200,
    }


def test_without_a_body_only_modules_travel() -> None:
    plan = cluster(6, 6, [], "d0")
    found = list(cluster_round_messages(cost(), plan, FineTuning(batch_size=8)))
    assert {m.kind for m in found} == {"modules_down", "modules_up"}
    assert sum(m.payload_bytes for m in found) == 2 * 500


@pytest.mark.parametrize("intra", ["sequential", "merge"])
@pytest.mark.parametrize("microbatches", [1, 4])
def test_a_round_repeats_its_steps_for_every_owner(intra: str, microbatches: int) -> None:
    plan = cluster(2, 5, [("d2", 2, 3), ("edge0", 4, 4)], "d0", "d1").model_copy(
        update={"intra": intra, "microbatches": microbatches}
    )
    settings = FineTuning(batch_size=8, local_steps=3, microbatches=microbatches)
    found = bytes_by_link(cluster_round_messages(cost(), plan, settings))
    assert found["d2", "edge0"] == 3 * 2 * 8 * HIDDEN + 200
    assert found["d1", "d2"] == 3 * 8 * HIDDEN


def test_the_cloud_gets_and_gives_all_modules_of_each_domain() -> None:
    found = bytes_by_link(cloud_messages(cost(), ["edge0"], "cloud0", domains=2))
    assert found == {("cloud0", "edge0"): 1000, ("edge0", "cloud0"): 1000}
    assert not list(cloud_messages(cost(), ["edge0"], "edge0"))


def test_central_training_uploads_inputs_and_labels_once() -> None:
    plan = cluster(6, 6, [], "edge0")
    owner = Owner(device="edge0", shards=("d0", "d1", "edge0"), samples=90)
    plan = plan.model_copy(update={"owners": (owner,)})
    samples = {"d0": 40, "d1": 40, "edge0": 10}
    assert bytes_by_link(upload_messages(cost(), plan, samples)) == {
        ("d0", "edge0"): 40 * (256 + 8),
        ("d1", "edge0"): 40 * (256 + 8),
    }
