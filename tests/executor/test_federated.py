"""What averaging and splitting must add up to, whatever the clusters."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gaisnet.executor.chain import HOLDER
from gaisnet.executor.data import Shard, concatenate
from gaisnet.executor.engines import Address
from gaisnet.executor.frames import decode
from gaisnet.executor.mailbox import Moment
from gaisnet.models import FoundationModel, load_tunable_state, tunable_state
from gaisnet.schema.job import AdamWSpec, FineTuning, SgdSpec
from gaisnet.schema.model import FullSpec, LoraSpec, TunableSpec
from tests.executor.hfsl import (
    N_UNITS,
    Fleet,
    cluster,
    distance,
    make_model,
    make_plan,
    make_shard,
    same,
)
from tests.executor.whole import draw, train_whole

TOLERANCE = 1e-6
SGD = SgdSpec(learning_rate=0.1)

cut_lists = st.lists(st.integers(1, N_UNITS - 1), min_size=2, max_size=4, unique=True).map(sorted)
tunables = st.sampled_from([FullSpec(), LoraSpec(r=2, alpha=4)])


def tuning(**more: object) -> FineTuning:
    base = {"rounds": 1, "local_steps": 2, "batch_size": 4, "optimizer": SGD}
    return FineTuning(**(base | more))


def fedavg_whole(
    tunable: TunableSpec, shards: dict[str, Shard], rounds: int, steps: int, optimizer: object
) -> dict[str, Tensor]:
    """Federated averaging on whole models, as McMahan et al. write it; moments start anew."""
    model = make_model("vit", tunable)
    current = tunable_state(model.module)
    cursor = 0
    for _ in range(rounds):
        results = {}
        for name in sorted(shards):
            load_tunable_state(model.module, current)
            batches = draw(shards[name], cursor + steps, 4, 0)[cursor:]
            train_whole(model, batches, optimizer)
            results[name] = tunable_state(model.module)
        cursor += steps
        total = sum(map(len, shards.values()))
        current = {
            key: sum(len(shards[n]) * results[n][key].double() for n in sorted(shards))
            .div(total)
            .float()
            for key in current
        }
    return current


def shards_of(model: FoundationModel, sizes: dict[str, int]) -> dict[str, Shard]:
    return {name: make_shard(model, name, n, 7 + i) for i, (name, n) in enumerate(sizes.items())}


@settings(max_examples=8, deadline=None)
@given(
    st.lists(cut_lists, min_size=2, max_size=4), st.booleans(), st.sampled_from([SGD, AdamWSpec()])
)
def test_invariant_3_identical_clusters_equal_one(cuts, several_edges, optimizer):
    """The same data in each; batches are whole shards, since their order depends on the name."""
    model = make_model("vit")
    shard = make_shard(model, "x", 4, 0)
    names = [f"d{i}" for i in range(len(cuts))]
    clusters = [
        cluster(f"c{i}", {n: 4}, c, edge=f"edge-{i if several_edges else 0}")
        for i, (n, c) in enumerate(zip(names, cuts, strict=True))
    ]
    shards = {n: Shard(n, shard.inputs, shard.labels) for n in names}
    job = tuning(optimizer=optimizer)
    several = Fleet(make_plan(clusters), model, shards, job)
    alone = Fleet(make_plan(clusters[:1]), make_model("vit"), {"d0": shards["d0"]}, job)
    several.tune(2)
    alone.tune(2)
    assert distance(several.modules(), alone.modules()) <= TOLERANCE


@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    cuts=cut_lists,
    merged=st.booleans(),
    u_shape=st.booleans(),
    tunable=tunables,
    edges=st.integers(1, 2),
)
def test_invariant_4_one_step_per_cluster_is_a_step_on_the_union(
    sizes, cuts, merged, u_shape, tunable, edges
):
    """Weighted by samples over one edge or two; the first two owners may be merged."""
    model, whole = make_model("vit", tunable), make_model("vit", tunable)
    shards = shards_of(model, {f"d{i}": n for i, n in enumerate(sizes)})
    owners = {name: len(shard) for name, shard in shards.items()}
    groups = [dict(list(owners.items())[:2])] if merged else []
    groups += [{n: k} for n, k in owners.items() if not merged or n not in groups[0]]
    clusters = [
        cluster(f"c{i}", group, cuts, u_shape=u_shape, intra="merge", edge=f"edge-{i % edges}")
        for i, group in enumerate(groups)
    ]
    fleet = Fleet(make_plan(clusters), model, shards, tuning(local_steps=1), batch_sizes=owners)
    fleet.tune(1)
    union = concatenate(list(shards.values()), "union")
    train_whole(whole, [union.take(range(len(union)))], SGD)
    assert distance(fleet.modules(), tunable_state(whole.module)) <= TOLERANCE


@settings(max_examples=8, deadline=None)
@given(st.integers(1, N_UNITS - 2), st.integers(1, 3), st.booleans(), tunables)
def test_invariant_5_splitfed_v1_at_any_cut_equals_fedavg(head, body, u_shape, tunable):
    """One body copy per owner, all on one server."""
    model = make_model("vit", tunable)
    shards = shards_of(model, {"a": 4, "b": 8, "c": 6})
    tail = min(head + body, N_UNITS - 1)
    cuts = [head, tail] if u_shape else [head]
    split = [
        cluster(f"c{n}", {n: len(s)}, cuts, devices=["server"], u_shape=u_shape)
        for n, s in shards.items()
    ]
    unsplit = [cluster(f"c{n}", {n: len(s)}, [], u_shape=False) for n, s in shards.items()]
    whole = [c.model_copy(update={"head_units": N_UNITS, "body": ()}) for c in unsplit]
    job = tuning(optimizer=AdamWSpec(learning_rate=0.01), keep_optimizer_state=False)
    a = Fleet(make_plan(split), model, shards, job)
    b = Fleet(make_plan(whole), make_model("vit", tunable), shards, job)
    assert a.tune(2) == b.tune(2)
    assert same(a.modules(), b.modules())
    assert distance(a.modules(), fedavg_whole(tunable, shards, 2, 2, job.optimizer)) <= TOLERANCE


@settings(max_examples=8, deadline=None)
@given(cut_lists, st.booleans(), tunables)
def test_invariant_6_one_cluster_is_sequential_split_learning(cuts, u_shape, tunable):
    """Modules go from turn to turn: the same as one model that sees all owners' batches."""
    model, whole = make_model("vit", tunable), make_model("vit", tunable)
    shards = shards_of(model, {"a": 4, "b": 8, "c": 6})
    owners = {name: len(shard) for name, shard in shards.items()}
    plan = make_plan([cluster("c0", owners, cuts, u_shape=u_shape, handover="relay")])
    fleet = Fleet(plan, model, shards, tuning())
    fleet.tune(2)
    for r in range(2):
        for shard in shards.values():
            train_whole(whole, draw(shard, 2 * r + 2, 4, 0)[2 * r :], SGD)
    assert same(fleet.modules(), tunable_state(whole.module))


@settings(max_examples=6, deadline=None)
@given(st.lists(cut_lists, min_size=3, max_size=3), st.booleans(), tunables)
def test_invariant_6_as_many_clusters_as_owners_is_fedavg(cuts, u_shape, tunable):
    model = make_model("vit", tunable)
    shards = shards_of(model, {"a": 4, "b": 8, "c": 6})
    clusters = [
        cluster(f"c{name}", {name: len(shard)}, c, u_shape=u_shape)
        for (name, shard), c in zip(shards.items(), cuts, strict=True)
    ]
    job = tuning(optimizer=AdamWSpec(), keep_optimizer_state=False)
    fleet = Fleet(make_plan(clusters), model, shards, job)
    fleet.tune(2)
    expected = fedavg_whole(tunable, shards, 2, 2, AdamWSpec())
    assert distance(fleet.modules(), expected) <= TOLERANCE


@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    cuts=cut_lists,
    u_shape=st.booleans(),
    microbatches=st.sampled_from([1, 2]),
)
def test_invariant_7_merged_gradients_rescaled_are_own_batch_gradients(
    sizes, cuts, u_shape, microbatches
):
    """Seen in what one SGD step does to the owners' heads (and tails)."""
    sizes = [n * microbatches for n in sizes]
    model = make_model("vit", FullSpec())
    shards = shards_of(model, {f"d{i}": n for i, n in enumerate(sizes)})
    owners = {name: len(shard) for name, shard in shards.items()}
    plan = make_plan(
        [cluster("c0", owners, cuts, u_shape=u_shape, intra="merge", microbatches=microbatches)]
    )
    job = tuning(local_steps=1)
    fleet = Fleet(plan, model, shards, job, batch_sizes=owners)
    fleet.tune(1)
    for name, shard in shards.items():
        whole = make_model("vit", FullSpec())
        train_whole(whole, draw(shard, 1, len(shard), 0), SGD)
        own = stage_values(fleet, name, ["c0/head", "c0/tail"] if u_shape else ["c0/head"])
        expected = tunable_state(whole.module)
        assert distance(own, {key: expected[key] for key in own}) <= TOLERANCE


def stage_values(fleet: Fleet, device: str, stages: list[str]) -> dict[str, Tensor]:
    reply = fleet.engine.call(Address(device, HOLDER), "get_modules", stages, Moment(), device)
    return decode(fleet.engine.fetch(reply.parcels[0]))[1]


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(4)), st.sampled_from(["fedavg", "fedex_lora"]), st.booleans())
def test_invariant_12_arrival_order_does_not_show(order, aggregator, personal):
    """Clusters that report in another order leave the same modules, bit for bit."""
    shards = shards_of(make_model("vit"), {"a": 4, "b": 8, "c": 6, "d": 5})
    clusters = [
        cluster(f"c{n}", {n: len(s)}, [1, 3], edge=f"edge-{i % 2}", domain=f"dom-{i // 2}")
        for i, (n, s) in enumerate(shards.items())
    ]
    job = tuning(aggregator=aggregator, personal=personal)
    one = Fleet(make_plan(clusters, cloud="sky"), make_model("vit"), shards, job)
    other_plan = make_plan([clusters[i] for i in order], cloud="sky")
    other = Fleet(other_plan, make_model("vit"), shards, job)
    one.tune(2)
    other.tune(2)
    for domain in ("dom-0", "dom-1") if personal else ("general",):
        assert same(one.modules(domain), other.modules(domain))


def test_personal_domains_are_averaged_with_their_own_kind_alone():
    shards = shards_of(make_model("vit"), {"a": 4, "b": 8, "c": 6})
    clusters = [
        cluster(f"c{n}", {n: len(s)}, [1, 3], edge=f"edge-{n}", domain=d)
        for (n, s), d in zip(shards.items(), ["x", "y", "x"], strict=True)
    ]
    job = tuning(personal=True)
    both = Fleet(make_plan(clusters), make_model("vit"), shards, job)
    both.tune(2)
    for domain in ("x", "y"):
        kept = [c for c in clusters if c.domain == domain]
        alone = Fleet(make_plan(kept), make_model("vit"), shards, job)
        alone.tune(2)
        assert same(both.modules(domain), alone.modules(domain))


def test_edges_meet_at_the_cloud_only_every_so_many_rounds():
    shards = shards_of(make_model("vit"), {"a": 4, "b": 8})
    clusters = [cluster(f"c{n}", {n: len(s)}, [1, 3], edge=f"edge-{n}") for n, s in shards.items()]
    fleet = Fleet(
        make_plan(clusters, cloud="sky"), make_model("vit"), shards, tuning(cloud_every=2)
    )
    fleet.tuner.round(0)
    assert not same(fleet.modules(device="edge-a"), fleet.modules(device="edge-b"))
    fleet.tuner.round(1)
    assert same(fleet.modules(device="edge-a"), fleet.modules(device="edge-b"))
    assert same(fleet.modules(device="edge-a"), fleet.modules(device="sky"))


def test_centralised_training_is_one_owner_with_everyones_data():
    model, whole = make_model("vit"), make_model("vit")
    shards = shards_of(model, {"a": 4, "b": 8})
    central = cluster("c0", {"server": 12}, [], u_shape=False, shards={"server": ("a", "b")})
    central = central.model_copy(update={"head_units": N_UNITS, "body": ()})
    fleet = Fleet(make_plan([central]), model, shards, tuning())
    fleet.tune(2)
    pooled = concatenate(list(shards.values()), "server")
    train_whole(whole, draw(pooled, 4, 4, 0), SGD)
    assert same(fleet.modules(), tunable_state(whole.module))


def test_optimizer_state_can_start_anew_in_every_round():
    momentum = SgdSpec(learning_rate=0.1, momentum=0.9)
    results = []
    for kept in (True, False):
        model = make_model("vit")
        shard = make_shard(model, "a", 8, 0)
        job = tuning(optimizer=momentum, keep_optimizer_state=kept, local_steps=1)
        fleet = Fleet(make_plan([cluster("c0", {"a": 8}, [1, 3])]), model, {"a": shard}, job)
        fleet.tune(2)
        whole = make_model("vit")
        for step in [[0, 1]] if kept else [[0], [1]]:
            train_whole(whole, [shard.batch(n, 4, 0) for n in step], momentum)
        assert same(fleet.modules(), tunable_state(whole.module))
        results.append(fleet.modules())
    assert not same(*results)


def test_merged_owners_need_samples_of_one_shape():
    model = make_model("gpt2")
    inputs = {n: model.example_inputs(4, n) for n in (5, 6)}
    shards = {f"d{n}": Shard(f"d{n}", t, t.pop("labels")) for n, t in inputs.items()}
    plan = make_plan([cluster("c0", {"d5": 4, "d6": 4}, [1, 3], intra="merge")])
    fleet = Fleet(plan, model, shards, tuning())
    with pytest.raises(Exception, match="different shapes"):
        fleet.tune(1)


def test_merged_owners_cannot_tune_what_they_share_with_the_body():
    model = make_model("gpt2", FullSpec())
    shards = shards_of(model, {"a": 4, "b": 4})
    plan = make_plan([cluster("c0", {"a": 4, "b": 4}, [1], u_shape=False, intra="merge")])
    with pytest.raises(Exception, match="merged owners cannot tune"):
        Fleet(plan, model, shards, tuning()).tune(1)


def test_a_loss_that_is_not_finite_stops_before_the_update():
    model = make_model("vit")
    shard = make_shard(model, "a", 4, 0)
    shard.inputs["pixel_values"][0] = float("nan")
    fleet = Fleet(make_plan([cluster("c0", {"a": 4}, [1, 3])]), model, {"a": shard}, tuning())
    with pytest.raises(Exception, match="the loss is nan in round 0, step 0; nothing was updated"):
        fleet.tune(1)
    held = stage_values(fleet, "a", ["c0/head", "c0/tail"])
    before = tunable_state(model.module)
    assert same(held, {key: before[key] for key in held})
    assert torch.isfinite(torch.cat([t.flatten() for t in held.values()])).all()


def test_an_owner_is_weighted_by_its_samples_not_by_its_batch():
    shards = shards_of(make_model("vit"), {"a": 2, "b": 10})
    plan = make_plan([cluster("c0", {"a": 2, "b": 10}, [3, 4], devices=["body"])])
    fleet = Fleet(plan, make_model("vit"), shards, tuning(local_steps=1))
    fleet.tune(1)
    tail = {n: stage_values(fleet, n, ["c0/tail"]) for n in "ab"}
    for key, value in fleet.modules().items():
        if key in tail["a"]:
            torch.testing.assert_close(value, (2 * tail["a"][key] + 10 * tail["b"][key]) / 12)
