"""Whole plans: schemes, limits, predictions, refusals, and the same bytes every time."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaisnet.errors import InfeasibleError, InputError, MismatchError
from gaisnet.planner import CostModel, plan
from gaisnet.planner.cost.traffic import bytes_by_link, cluster_round_messages
from gaisnet.schema.files import canonical_json, sha256_file
from gaisnet.schema.fleet import Fleet, Link
from gaisnet.schema.job import Scheme
from gaisnet.schema.model import HeadSpec
from gaisnet.schema.plan import Plan
from tests.planner.factory import (
    LINKS,
    MODEL,
    make_device,
    make_fleet,
    make_job,
    make_model,
    write_files,
)

ROOMY = (20_000, 30_000)


def planned(folder: Path, **changes: Any) -> Plan:
    fleet, model = changes.pop("fleet", make_fleet(4)), changes.pop("model", make_model(6))
    return plan(write_files(folder, make_job(**changes), fleet, model))


def owners_of(found: Plan) -> list[str]:
    return sorted(owner.device for cluster in found.clusters for owner in cluster.owners)


def test_hfsl_puts_every_owner_into_one_cluster_and_holds_every_unit(tmp_path: Path) -> None:
    found = planned(tmp_path, clustering={"clusters": 2})
    assert len(found.clusters) == 2
    assert owners_of(found) == ["d0", "d1", "d2", "d3"]
    assert {cluster.edge for cluster in found.clusters} == {"edge0"}
    assert all(cluster.head_units < cluster.tail_first_unit < 6 for cluster in found.clusters)
    assert found.cloud == "edge0"
    assert found.model_fingerprint == "0" * 64


def test_without_a_number_of_clusters_every_number_is_tried_and_the_best_taken(
    tmp_path: Path,
) -> None:
    found = planned(tmp_path)
    best = found.certificates[0]
    assert best.decision.startswith(f"number of clusters: {len(found.clusters)} (1: ")
    assert best.work == 4
    for clusters in range(1, 5):
        given_number = planned(tmp_path, clustering={"clusters": clusters})
        skew = 1.0 + _label_tv(given_number)
        assert best.value <= given_number.predictions.round_s * skew * (1 + 1e-9)


def _label_tv(found: Plan) -> float:
    """Owners with even numbers have labels (10, 30), the others (30, 10): q = 1/2 each."""
    total = 0.0
    for cluster in found.clusters:
        odd = sum(int(owner.device[1:]) % 2 for owner in cluster.owners)
        total += 2 * abs(20 * odd - 10 * len(cluster.owners))
    return total / (2 * 160)


def test_federated_learning_is_one_whole_model_per_owner(tmp_path: Path) -> None:
    found = planned(tmp_path, scheme="fl", fleet=make_fleet(4, memory_bytes=ROOMY))
    assert len(found.clusters) == 4
    assert all(c.head_units == c.tail_first_unit == 6 and not c.body for c in found.clusters)
    assert {link.sender for link in found.predictions.links} == {f"d{i}" for i in range(4)} | {
        "edge0"
    }


def test_split_learning_is_one_cluster_that_hands_modules_on(tmp_path: Path) -> None:
    found = planned(tmp_path, scheme="sl")
    (cluster,) = found.clusters
    assert cluster.handover == "relay"
    assert cluster.intra == "sequential"
    assert cluster.body


def test_splitfed_v1_has_a_body_per_owner_on_the_edge(tmp_path: Path) -> None:
    found = planned(tmp_path, scheme="sfl-v1")
    assert len(found.clusters) == 4
    assert {s.device for c in found.clusters for s in c.body} == {"edge0"}
    assert all(len(c.body) == 1 for c in found.clusters)


def test_splitfed_v2_has_one_body_on_the_edge(tmp_path: Path) -> None:
    found = planned(tmp_path, scheme="sfl-v2")
    (cluster,) = found.clusters
    assert [stage.device for stage in cluster.body] == ["edge0"]
    assert cluster.handover == "average"
    assert owners_of(found) == ["d0", "d1", "d2", "d3"]


def test_centralised_training_collects_all_data_on_one_device(tmp_path: Path) -> None:
    found = planned(tmp_path, scheme="central")
    (cluster,) = found.clusters
    (owner,) = cluster.owners
    assert owner.device == "edge0"
    assert owner.shards == ("d0", "d1", "d2", "d3")
    assert owner.samples == 160
    uploads = {p.sender: p.payload_bytes_per_round for p in found.predictions.links}
    assert uploads == {f"d{i}": 40 * (256 + 8) // 10 for i in range(4)}


def test_the_vanilla_topology_leaves_no_tail_on_the_owner(tmp_path: Path) -> None:
    tuning = {"batch_size": 8, "topology": "vanilla"}
    found = planned(tmp_path, fine_tuning=tuning, clustering={"clusters": 1})
    assert found.clusters[0].tail_first_unit == 6
    assert found.clusters[0].body[-1].last_unit == 5


def plan_or_hint(path: Path) -> Plan | None:
    """A plan, or nothing if there is none; then the error says what to do."""
    hints = []
    try:
        return plan(path)
    except InfeasibleError as error:
        hints.append(error.hint)
    assert all(hints)
    return None


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    owners=st.integers(1, 6),
    edge_bytes=st.integers(0, 60_000),
    scheme=st.sampled_from(["hfsl", "sl", "sfl-v1", "sfl-v2"]),
    intra=st.sampled_from(["sequential", "merge"]),
    objective=st.sampled_from(["latency", "period", "makespan", "energy"]),
    slack=st.sampled_from([0.0, 0.2]),
)
def test_plans_keep_to_every_limit_and_predict_what_they_plan(
    tmp_path: Path,
    owners: int,
    edge_bytes: int,
    scheme: Scheme,
    intra: str,
    objective: str,
    slack: float,
) -> None:
    job = make_job(
        scheme=scheme,
        objective=objective,
        fine_tuning={"batch_size": 8, "intra": intra, "microbatches": 2},
        constraints={"memory_slack": slack, "min_head_units": 2},
        clustering={"clusters": min(2, owners)},
    )
    fleet = make_fleet(owners, edge_bytes=edge_bytes)
    path = write_files(tmp_path, job, fleet, make_model(6))
    found = plan_or_hint(path)
    if found is None:
        return
    memory = {d.id: d.figures.memory_bytes for d in fleet.devices if d.figures}
    for device in found.predictions.devices:
        assert device.memory_bytes <= device.limit_bytes <= memory[device.device] * (1 - slack)
    assert all(cluster.head_units >= 2 for cluster in found.clusters)
    for certificate in found.certificates:
        assert certificate.bound <= certificate.value * (1 + 1e-9)
    cost = CostModel.from_files(path)
    messages = [
        message
        for cluster in found.clusters
        for message in cluster_round_messages(cost, cluster, job.fine_tuning)
    ]
    predicted = {(p.sender, p.receiver): p.payload_bytes_per_round for p in found.predictions.links}
    assert predicted == bytes_by_link(messages)
    assert found.predictions.round_s >= max(s.makespan_s for s in found.predictions.steps)


def test_private_and_forbidden_devices_hold_no_stage_for_others(tmp_path: Path) -> None:
    devices = [
        make_device("d0", memory_bytes=5_000, samples=40),
        make_device("d1", memory_bytes=50_000, flops_per_s=1e12, samples=40, privacy="owner"),
        make_device("x", memory_bytes=50_000, flops_per_s=1e12),
        make_device("edge0", "edge", memory_bytes=50_000, flops_per_s=1e8),
    ]
    fleet = Fleet(devices=tuple(devices), links=LINKS)
    found = planned(
        tmp_path,
        fleet=fleet,
        constraints={"forbidden_devices": ["x"]},
        clustering={"clusters": 1},
    )
    assert {stage.device for stage in found.clusters[0].body} == {"edge0"}
    allowed = planned(tmp_path, fleet=fleet, clustering={"clusters": 1})
    assert "x" in {stage.device for stage in allowed.clusters[0].body}


def test_a_cloud_may_hold_the_body_and_averages(tmp_path: Path) -> None:
    cloud = make_device("cloud0", "cloud", memory_bytes=10**6, flops_per_s=1e13)
    fleet = make_fleet(4, edge_bytes=0)
    fleet = Fleet(devices=(*fleet.devices, cloud), links=LINKS)
    found = planned(tmp_path, fleet=fleet, clustering={"clusters": 2}, objective="energy")
    assert found.cloud == "cloud0"
    assert {("edge0", "cloud0"), ("cloud0", "edge0")} <= {
        (link.sender, link.receiver) for link in found.predictions.links
    }


def test_devices_are_clustered_below_their_own_edge(tmp_path: Path) -> None:
    devices = [
        make_device(f"d{i}", samples=40, memory_bytes=5000, edge=f"edge{i % 2}") for i in range(4)
    ]
    edges = [make_device(f"edge{i}", "edge", memory_bytes=50_000) for i in range(2)]
    fleet = Fleet(devices=(*devices, *edges), links=LINKS)
    found = planned(tmp_path, fleet=fleet, clustering={"clusters": 2})
    for cluster in found.clusters:
        expected = {"edge0": {"d0", "d2"}, "edge1": {"d1", "d3"}}[cluster.edge]
        assert {owner.device for owner in cluster.owners} == expected
    with pytest.raises(InfeasibleError, match="2 groups"):
        planned(tmp_path, fleet=fleet, clustering={"clusters": 1})


# Refusals: each says what binds and what would mend it.


def mended(message: str) -> int:
    """The bytes that a hint asks for, a bit more for its rounding."""
    words = message.split()
    number, unit = next((float(n), u) for n, u in pairwise(words) if u in ("B", "KiB", "MiB"))
    return int(number * {"B": 1, "KiB": 1024, "MiB": 1024**2}[unit] * 1.1) + 1


def test_a_fleet_that_cannot_hold_the_model_says_how_much_is_missing(tmp_path: Path) -> None:
    fleet = make_fleet(2, edge_bytes=100)
    with pytest.raises(InfeasibleError, match="cannot hold the model together") as caught:
        planned(tmp_path, fleet=fleet, clustering={"clusters": 1})
    hint = caught.value.hint or ""
    assert "more on some device of cluster c0" in hint
    device = hint.split("e.g. ")[1].split(";")[0]
    sizes = {d.id: d.figures.memory_bytes for d in fleet.devices if d.figures}
    sizes[device] += mended(hint)
    grown = make_fleet(2, edge_bytes=sizes["edge0"], memory_bytes=(sizes["d0"], sizes["d1"]))
    assert planned(tmp_path, fleet=grown, clustering={"clusters": 1}).clusters


def test_an_owner_too_small_for_head_and_tail_is_named(tmp_path: Path) -> None:
    fleet = make_fleet(3, memory_bytes=(5000, 100, 5000))
    with pytest.raises(InfeasibleError, match="owner d1 has 100 B") as caught:
        planned(tmp_path, fleet=fleet, clustering={"clusters": 1})
    assert "give d1" in (caught.value.hint or "")


@pytest.mark.parametrize("scheme", ["fl", "central"])
def test_whole_models_that_fit_nowhere_name_device_and_bytes(
    tmp_path: Path, scheme: Scheme
) -> None:
    with pytest.raises(InfeasibleError) as caught:
        planned(tmp_path, scheme=scheme, fleet=make_fleet(4, edge_bytes=500))
    assert any(f"d{i}" in (caught.value.hint or "") for i in range(4))
    assert "KiB" in (caught.value.hint or "")


def test_missing_links_are_told_from_missing_memory(tmp_path: Path) -> None:
    fleet = make_fleet(2)
    lonely = Fleet(
        devices=fleet.devices,
        links=(Link(between=("d1", "edge0"), bandwidth_bits_per_s=8e6),),
    )
    with pytest.raises(InfeasibleError, match="owner d0 has no links") as caught:
        planned(tmp_path, scheme="sfl-v2", fleet=lonely)
    assert "edge0" in (caught.value.hint or "")


def test_devices_that_the_edge_server_does_not_reach_hold_nothing(tmp_path: Path) -> None:
    devices = [
        make_device("d0", memory_bytes=5_000, samples=40),
        make_device("far", memory_bytes=50_000, flops_per_s=1e12),
        make_device("edge0", "edge", memory_bytes=50_000),
    ]
    near = [
        Link(between=(a, b), bandwidth_bits_per_s=8e6) for a, b in (("d0", "far"), ("d0", "edge0"))
    ]
    fleet = Fleet(devices=tuple(devices), links=tuple(near))
    found = planned(tmp_path, fleet=fleet, clustering={"clusters": 1})
    assert {stage.device for stage in found.clusters[0].body} == {"edge0"}


def test_an_owner_that_the_edge_server_does_not_reach_is_named(tmp_path: Path) -> None:
    devices = [
        make_device("d0", memory_bytes=50_000, samples=40),
        make_device("edge0", "edge", memory_bytes=50_000),
    ]
    with pytest.raises(InfeasibleError, match="d0 has no links to edge0") as caught:
        planned(tmp_path, fleet=Fleet(devices=tuple(devices)), clustering={"clusters": 1})
    assert "link d0 and edge0" in (caught.value.hint or "")


def test_a_fleet_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="no device of the fleet owns data"):
        planned(tmp_path, fleet=Fleet(devices=(make_device("a"),)))


def test_more_clusters_than_owners_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="there are 4") as caught:
        planned(tmp_path, clustering={"clusters": 5})
    assert "at most 4" in (caught.value.hint or "")


def test_a_single_device_without_links_trains_alone(tmp_path: Path) -> None:
    fleet = Fleet(devices=(make_device("a", memory_bytes=50_000, samples=5),))
    found = planned(tmp_path, fleet=fleet)
    assert found.clusters[0].head_units == 6
    assert found.clusters[0].edge == "a"
    assert found.predictions.links == ()


def test_a_model_of_one_unit_is_held_whole(tmp_path: Path) -> None:
    fleet = make_fleet(2, memory_bytes=ROOMY)
    found = planned(tmp_path, fleet=fleet, model=make_model(1))
    assert all(cluster.head_units == 1 and not cluster.body for cluster in found.clusters)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"tunable": HeadSpec()}, "tunable modules"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"model": MODEL.model_copy(update={"source": "other.json"})}, "model"),
        ({"model": MODEL.model_copy(update={"num_labels": 3})}, "model"),
    ],
)
def test_profiles_of_something_else_do_not_match(
    tmp_path: Path, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(MismatchError, match=word):
        planned(tmp_path, model=make_model(6, **changes))


def test_devices_that_the_fleet_lacks_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'ghost'"):
        planned(tmp_path, constraints={"forbidden_devices": ["ghost"]})
    with pytest.raises(InputError, match="origin"):
        planned(tmp_path, services=[{"id": "s", "rate_per_s": 1.0, "origin": "ghost"}])


# Reproducibility.


def test_inputs_are_named_relative_to_the_plan_and_hashed(tmp_path: Path) -> None:
    path = write_files(tmp_path / "in", make_job(), make_fleet(2), make_model(6))
    found = plan(path, output=tmp_path / "out" / "plan.json")
    assert found.inputs.fleet.path == "../in/fleet.json"
    assert found.inputs.job.sha256 == sha256_file(path)
    assert plan(path).inputs.profile.path == "profile.json"


def test_arguments_go_before_the_job(tmp_path: Path) -> None:
    path = write_files(tmp_path, make_job(), make_fleet(3), make_model(6))
    found = plan(path, scheme="hfsl", objective="energy", clusters=3, seed=7)
    assert (found.objective, len(found.clusters), found.seed) == ("energy", 3, 7)


def test_a_time_limit_marks_the_plan(tmp_path: Path) -> None:
    assert planned(tmp_path).reproducible
    assert not planned(tmp_path, search={"time_limit_s": 60.0}).reproducible


SCRIPT = """
import sys
from gaisnet.planner import plan
from gaisnet.schema.files import canonical_json
sys.stdout.write(canonical_json(plan(sys.argv[1])))
assert not {"torch", "transformers"} & set(sys.modules), "the planner must not import them"
"""


def test_plans_are_byte_identical_in_other_processes(tmp_path: Path) -> None:
    services = [{"id": "s0", "rate_per_s": 1.0}, {"id": "s1", "rate_per_s": 0.5, "origin": "d1"}]
    path = write_files(tmp_path, make_job(services=services), make_fleet(6), make_model(8))
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("0", "4242")
    ]
    texts = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], texts
    assert texts[0][0] == texts[1][0] == canonical_json(plan(path))
