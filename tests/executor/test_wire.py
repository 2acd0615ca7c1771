"""What is on the wire: its bytes are the planner's formula, and it holds no private data."""

from __future__ import annotations

from collections import Counter
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.executor.data import Shard
from gaisnet.executor.frames import decode
from gaisnet.models import frozen_hashes
from gaisnet.planner.cost import CostModel
from gaisnet.planner.cost.traffic import (
    bytes_by_link,
    cloud_messages,
    cluster_round_messages,
    upload_messages,
)
from gaisnet.profiler import profile_model
from gaisnet.schema.fleet import Device, DeviceFigures
from gaisnet.schema.fleet import Fleet as FleetFile
from gaisnet.schema.job import FineTuning, Job, PrivacySpec, SgdSpec
from gaisnet.schema.model import FullSpec, HeadSpec, LoraSpec, ModelSpec, TunableSpec
from gaisnet.schema.plan import ClusterPlan
from gaisnet.schema.profile import ModelPart
from tests.executor.hfsl import (
    N_UNITS,
    Fleet,
    cluster,
    config_file,
    make_model,
    make_plan,
    make_shard,
)

TOKENS = 8
SAMPLES = {"a": 4, "b": 8, "c": 6}
TUNABLES: dict[str, TunableSpec] = {
    "lora": LoraSpec(r=2, alpha=4),
    "full": FullSpec(),
    "head": HeadSpec(),
}


@cache
def profile(model: str, tunable: str) -> ModelPart:
    spec = ModelSpec(source=str(config_file(model)))
    tokens = None if model == "vit" else TOKENS
    return profile_model(
        spec,
        TUNABLES[tunable],
        optimizer="sgd",
        batch_sizes=(1,),
        tokens=tokens,
        times=False,
        seed=0,
    )


def cost_model(part: ModelPart, tuning: FineTuning, devices: set[str]) -> CostModel:
    figures = DeviceFigures(flops_per_s=1e9, memory_bytes=10**9)
    fleet = FleetFile(
        devices=tuple(Device(id=name, tier="end", figures=figures) for name in sorted(devices))
    )
    job = Job(fleet="-", profile="-", model=part.model, tunable=part.tunable, fine_tuning=tuning)
    return CostModel.from_parts(job, fleet, part, {})


def owners_of(names: str) -> dict[str, int]:
    return {name: SAMPLES[name] for name in names}


def layouts(intra: str, microbatches: int) -> dict[str, list[ClusterPlan]]:
    """The schemes and topologies as plans."""
    options = {"intra": intra, "microbatches": microbatches}
    relay = {"handover": "relay", "microbatches": microbatches}
    unsplit = [
        cluster(f"c{n}", owners_of(n), [], u_shape=False, microbatches=microbatches).model_copy(
            update={"head_units": N_UNITS, "body": ()}
        )
        for n in "abc"
    ]
    return {
        "hfsl u_shape": [
            cluster("c0", owners_of("ab"), [1, 2, 4], **options),
            cluster("c1", owners_of("c"), [2, 3], edge="edge-1", **options),
        ],
        "hfsl vanilla": [
            cluster("c0", owners_of("ab"), [1, 3], u_shape=False, **options),
            cluster("c1", owners_of("c"), [2], u_shape=False, edge="edge-1", **options),
        ],
        "sl": [cluster("c0", owners_of("abc"), [1, 3], u_shape=False, **relay)],
        "sfl-v1": [
            cluster(f"c{n}", owners_of(n), [2, 4], devices=["edge-0"], **options) for n in "abc"
        ],
        "sfl-v2": [cluster("c0", owners_of("abc"), [2, 4], devices=["edge-0"], **options)],
        "fl": unsplit,
        "owner holds a body stage too": [
            cluster("c0", owners_of("ab"), [1, 2, 4], devices=["b", "edge-0"], **options)
        ],
    }


def shards_for(name: str, model: object) -> dict[str, Shard]:
    shards = {}
    for device, samples in SAMPLES.items():
        tensors = model.example_inputs(samples, None if name == "vit" else TOKENS, seed=samples)
        shards[device] = Shard(device, tensors, tensors.pop("labels"))
    return shards


@pytest.mark.parametrize("layout", sorted(layouts("sequential", 1)))
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_invariant_10_metered_bytes_equal_the_formula(layout, data):
    intra = data.draw(st.sampled_from(["sequential", "merge"]))
    microbatches = data.draw(st.sampled_from([1, 2]))
    tunable = data.draw(st.sampled_from(sorted(TUNABLES)))
    name = data.draw(st.sampled_from(["vit", "bert"]))
    clusters = layouts(intra, microbatches)[layout]
    aggregators = ["fedavg", "ffa_lora"] if tunable == "lora" else ["fedavg"]
    tuning = FineTuning(
        rounds=1,
        aggregator=data.draw(st.sampled_from(aggregators)),
        local_steps=2,
        batch_size=4,
        microbatches=microbatches,
        optimizer=SgdSpec(),
        compression=data.draw(st.sampled_from(["none", "int8", "int4"])),
        clip_norm=data.draw(st.sampled_from([None, 1.0])),
    )
    model = make_model(name, TUNABLES[tunable])
    plan = make_plan(clusters, cloud="sky")
    fleet = Fleet(plan, model, shards_for(name, model), tuning)
    fleet.engine.meter.take()
    fleet.tune(1)
    metered = {
        (link.sender, link.receiver): link.payload_bytes for link in fleet.engine.meter.take()
    }
    devices = {d for c in clusters for d in (c.edge, *(s.device for s in c.body))}
    cost = cost_model(profile(name, tunable), tuning, devices | SAMPLES.keys() | {"sky"})
    messages = [m for c in clusters for m in cluster_round_messages(cost, c, tuning)]
    edges = sorted({c.edge for c in clusters})
    messages += list(cloud_messages(cost, edges, "sky"))
    assert metered == bytes_by_link(messages)


@pytest.mark.parametrize("name", ["vit", "bert"])
@pytest.mark.parametrize("tunable", sorted(TUNABLES))
def test_invariant_10_holds_under_secure_aggregation(name, tunable):
    clusters = [cluster("c0", owners_of("abc"), [1, 2, 4])]
    tuning = FineTuning(
        rounds=1,
        local_steps=1,
        batch_size=4,
        optimizer=SgdSpec(),
        privacy=PrivacySpec(secure_aggregation=True),
    )
    model = make_model(name, TUNABLES[tunable])
    fleet = Fleet(make_plan(clusters, cloud="sky"), model, shards_for(name, model), tuning)
    fleet.engine.meter.take()
    fleet.tune(1)
    metered = {(x.sender, x.receiver): x.payload_bytes for x in fleet.engine.meter.take()}
    devices = {"edge-0", "sky", *SAMPLES, *(s.device for s in clusters[0].body)}
    cost = cost_model(profile(name, tunable), tuning, devices)
    messages = [*cluster_round_messages(cost, clusters[0], tuning)]
    messages += cloud_messages(cost, ["edge-0"], "sky")
    assert metered == bytes_by_link(messages)


def test_invariant_10_holds_for_the_data_that_central_training_uploads():
    central = cluster("c0", {"server": 18}, [], u_shape=False, shards={"server": ("a", "b", "c")})
    central = central.model_copy(update={"head_units": N_UNITS, "body": ()})
    model = make_model("vit")
    tuning = FineTuning(optimizer=SgdSpec())
    fleet = Fleet(make_plan([central]), model, shards_for("vit", model), tuning)
    metered = {
        (link.sender, link.receiver): link.payload_bytes for link in fleet.engine.meter.take()
    }
    cost = cost_model(profile("vit", "lora"), tuning, {"server", "edge-0", *SAMPLES})
    assert metered == bytes_by_link(upload_messages(cost, central, SAMPLES))


@pytest.mark.parametrize("aggregator", ["fedavg", "ffa_lora", "fedex_lora"])
@settings(max_examples=4, deadline=None)
@given(st.sampled_from(["hfsl u_shape", "sl", "sfl-v1", "fl"]))
def test_invariant_9_frozen_tensors_never_change(aggregator, layout):
    model = make_model("bert")
    shards = shards_for("bert", model)
    plan = make_plan(layouts("sequential", 1)[layout], cloud="sky")
    tuning = FineTuning(
        local_steps=2, batch_size=4, optimizer=SgdSpec(learning_rate=0.5), aggregator=aggregator
    )
    fleet = Fleet(plan, model, shards, tuning)
    before = frozen_hashes(model.module)
    first = fleet.modules()
    fleet.tune(2)
    assert frozen_hashes(model.module) == before
    assert len(before) > 40
    after = fleet.modules()
    assert any(not torch.equal(first[key], after[key]) for key in first)


def canaries(shards: dict[str, Shard], batch_size: int) -> tuple[list[bytes], list[bytes]]:
    """Byte strings that only raw inputs, and only labels, contain: four values side by side."""
    inputs, labels = [], []
    for shard in shards.values():
        for name, tensor in shard.inputs.items():
            if name != "attention_mask":
                rows = tensor.reshape(len(tensor), -1)
                inputs += [row[i : i + 4].numpy().tobytes() for row in rows for i in (0, 3)]
        for step in range(4):
            drawn = shard.batch(step, batch_size, 0).labels
            labels.append(drawn.numpy().tobytes())
    return inputs, labels


def found(frames: list[tuple[str, str, bytes]], needles: list[bytes]) -> int:
    haystack = b"\n".join(frame for _, _, frame in frames)
    return sum(needle in haystack for needle in needles)


def listen(name: str, clusters: list[ClusterPlan], **tuning: object) -> tuple[list, list, list]:
    model = make_model(name)
    shards = shards_for(name, model)
    job = FineTuning(local_steps=2, batch_size=4, optimizer=SgdSpec(), **tuning)
    fleet = Fleet(make_plan(clusters, cloud="sky"), model, shards, job)
    fleet.tune(1)
    return fleet.frames, *canaries(shards, 4)


@pytest.mark.parametrize("name", ["vit", "bert", "gpt2"])
@settings(max_examples=4, deadline=None)
@given(
    layout=st.sampled_from(["hfsl u_shape", "sfl-v1", "sfl-v2"]),
    intra=st.sampled_from(["sequential", "merge"]),
    compression=st.sampled_from(["none", "int8"]),
)
def test_invariant_11_u_shape_sends_no_label_and_no_raw_input(name, layout, intra, compression):
    frames, inputs, labels = listen(name, layouts(intra, 1)[layout], compression=compression)
    assert len(frames) > 20
    assert found(frames, inputs) == 0
    assert found(frames, labels) == 0
    names = Counter(key for _, _, frame in frames for key in decode(frame)[1] if "." not in key)
    assert set(names) <= {"hidden", "gradient"}


def test_the_canary_scan_would_see_labels_under_the_vanilla_topology():
    frames, inputs, labels = listen("vit", layouts("sequential", 1)["hfsl vanilla"])
    assert found(frames, inputs) == 0
    assert found(frames, labels) > 0


def test_the_canary_scan_would_see_raw_inputs_that_are_uploaded():
    model = make_model("vit")
    shards = {name: make_shard(model, name, n, n) for name, n in SAMPLES.items()}
    central = cluster("c0", {"server": 18}, [], u_shape=False, shards={"server": ("a", "b", "c")})
    central = central.model_copy(update={"head_units": N_UNITS, "body": ()})
    fleet = Fleet(make_plan([central]), model, shards, FineTuning(optimizer=SgdSpec()))
    assert found(fleet.frames, canaries(shards, 4)[0]) > 0
