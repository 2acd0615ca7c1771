"""Why a plan is as it is: every figure against the enumeration of all chains."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from gaisnet.planner import plan
from gaisnet.planner.chains import ClusterSplit, SplitTask, split_cluster
from gaisnet.planner.cost import CostModel
from gaisnet.planner.explaining.changes import upgrades_of
from gaisnet.planner.explaining.contributions import contributions_of, other_ends, other_holders
from gaisnet.schema.files import canonical_json
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.plan import Plan
from tests.planner.factory import LINKS, make_device, make_fleet, make_job, make_model, write_files
from tests.planner.test_cluster_split import chains, cheapest, tasks

PROPERTY = settings(max_examples=25, deadline=None)
Case = tuple[CostModel, SplitTask]


def solved(case: Case) -> ClusterSplit | None:
    cost, task = case
    return split_cluster(cost, replace(task, moving=None, beside={}))


@PROPERTY
@given(case=tasks())
def test_a_device_is_worth_what_its_cluster_loses_without_it(case: Case) -> None:
    cost, split = case[0], solved(case)
    if split is None:
        return
    used = {device for device, _, _ in split.chain.body}
    for held in contributions_of(cost, split):
        if held.device not in used:
            assert held.value_without == held.value_with == split.value
            continue
        others = tuple(h for h in split.task.holders if h != held.device)
        best = cheapest(cost, replace(split.task, holders=others))
        assert (held.value_without is None) == math.isinf(best)
        if held.value_without is not None:
            assert held.value_without >= held.value_with
            assert held.value_without == pytest.approx(best, rel=4e-6)


@PROPERTY
@given(case=tasks())
def test_the_runner_ups_are_the_best_that_differ(case: Case) -> None:
    cost, split = case[0], solved(case)
    if split is None:
        return
    task, ends = split.task, (split.chain.head_units, split.chain.tail_first_unit)
    cuts = {(c.head_units, c.tail_first_unit) for c in chains(cost.n_units, task)} - {ends}
    best = min((cheapest(cost, task, cut) for cut in cuts), default=math.inf)
    found = other_ends(cost, split)
    assert bool(found) == math.isfinite(best)
    for runner_up in found:
        assert runner_up.value == pytest.approx(best, rel=4e-6)
        assert runner_up.worse_by >= -2e-6
    held = contributions_of(cost, split)
    without = [c.value_without for c in held if c.value_without is not None]
    for runner_up in other_holders(split, held):
        assert runner_up.value in without


@PROPERTY
@given(case=tasks())
def test_an_upgrade_buys_what_the_best_split_with_it_saves(case: Case) -> None:
    cost, split = case[0], solved(case)
    if split is None:
        return
    for found in upgrades_of(cost, split)[:6]:
        changed, task = cost, split.task
        if found.kind == "memory":
            more = task.limit_bytes[found.where] + round(
                0.25 * cost.devices[found.where].limit_bytes
            )
            task = replace(task, limit_bytes={**task.limit_bytes, found.where: more})
        elif found.kind == "speed":
            faster = 1.25 * task.speed.get(found.where, 1.0)
            task = replace(task, speed={**task.speed, found.where: faster})
        else:
            one, other = found.where.split("–")
            changed = replace(cost, links=cost.links.faster(one, other, 1.25))
            before, after = cost.links.way(one, other), changed.links.way(one, other)
            assert after.bandwidth_bytes_per_s == 1.25 * before.bandwidth_bytes_per_s
            assert after.latency_s == before.latency_s
        best = cheapest(changed, task)
        assert found.value == pytest.approx(best, rel=4e-6)
        assert found.gain == pytest.approx(max(0.0, 1 - best / split.value), abs=1e-5)


def planned(folder: Path, fleet: Fleet, explain: bool, **job: Any) -> Plan:
    return plan(write_files(folder, make_job(**job), fleet, make_model(6)), explain=explain)


def test_memory_that_binds_is_named_and_more_of_it_gains(tmp_path: Path) -> None:
    devices = [
        make_device("d0", memory_bytes=1_000, samples=40, flops_per_s=1e8),
        make_device("fast", memory_bytes=10_000, flops_per_s=1e12),
        make_device("slow", memory_bytes=90_000, flops_per_s=1e8),
        make_device("edge0", "edge", memory_bytes=0),
    ]
    fleet = Fleet(devices=tuple(devices), links=LINKS)
    found = planned(tmp_path, fleet, True, clustering={"clusters": 1}).explanation
    assert found.complete
    best = found.upgrades[0]
    assert (best.kind, best.where) == ("memory", "fast")
    tight = next(b for b in found.binding if (b.kind, b.where) == ("memory", "fast"))
    assert tight.gain == best.gain > 0
    worth = {c.device: c.value_without for c in found.contributions}
    assert worth["slow"] is None
    assert worth["fast"] is None or worth["fast"] > found.contributions[0].value_with


def test_rules_that_cost_something_are_told(tmp_path: Path) -> None:
    job = {"constraints": {"min_head_units": 3}, "clustering": {"clusters": 1}}
    fleet = make_fleet(2, memory_bytes=(20_000,), speeds=(1e8,), edge_bytes=90_000)
    found = planned(tmp_path, fleet, True, **job).explanation
    assert found.binding[0].kind == "rule"
    assert found.binding[0].where == "min_head_units 3"
    assert found.binding[0].gain is not None
    assert found.binding[0].gain > 0.1


def test_other_numbers_of_clusters_are_runner_ups_without_solving_again(tmp_path: Path) -> None:
    found = planned(tmp_path, make_fleet(4), False)
    told = found.explanation
    assert not told.complete
    assert not told.upgrades
    assert {r.decision for r in told.runner_ups} == {"number of clusters"}
    assert all(r.worse_by >= 0 for r in told.runner_ups)
    assert told.binding
    assert sum(b.used or 0 for b in told.binding if b.kind in ("compute", "link")) > 0


def test_the_same_explanation_every_time(tmp_path: Path) -> None:
    first, second = (planned(tmp_path, make_fleet(4), True) for _ in range(2))
    assert canonical_json(first) == canonical_json(second)
    assert Plan.model_validate_json(canonical_json(first)) == first
