"""Why there is no plan: the conflict is one, none of it is to spare, and the mend mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaisnet.errors import InfeasibleError
from gaisnet.planner import (
    Inputs,
    conflict_of,
    fatal_loss,
    plan_inputs,
    read_inputs,
    surviving_inputs,
    with_conflict,
)
from gaisnet.planner.conflict.case import Case, Oracle, whole_bytes
from gaisnet.planner.conflict.mends import RESOLUTION, Mend
from gaisnet.planner.conflict.rules import rules_of
from gaisnet.schema.fleet import DeviceFigures, Fleet, Link
from tests.planner.factory import LINKS, make_device, make_fleet, make_job, make_model, write_files


def inputs_in(folder: Path, fleet: Fleet, **job: Any) -> Inputs:
    return read_inputs(write_files(folder, make_job(**job), fleet, make_model(6)))


def plannable(inputs: Inputs) -> bool:
    """What the planner itself says."""
    try:
        plan_inputs(inputs, inputs.job_path.parent)
    except InfeasibleError:
        return False
    return True


def with_memory(inputs: Inputs, extra: dict[str, int]) -> Inputs:
    """The fleet with more memory, written into the devices' own figures."""
    devices = []
    for device in inputs.fleet.devices:
        assert device.figures is not None
        has = device.figures.memory_bytes + extra.get(device.id, 0)
        figures = DeviceFigures(**(device.figures.model_dump() | {"memory_bytes": has}))
        devices.append(device.model_copy(update={"figures": figures}))
    fleet = inputs.fleet.model_copy(update={"devices": tuple(devices)})
    return replace(inputs, fleet=fleet)


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    memories=st.lists(st.integers(500, 6_000), min_size=1, max_size=3),
    edge_bytes=st.integers(0, 9_000),
    head=st.integers(1, 3),
    stages=st.sampled_from([None, 1, 2]),
    private=st.booleans(),
    scheme=st.sampled_from(["hfsl", "sl", "sfl-v2"]),
)
def test_a_conflict_is_irreducible_and_its_mend_is_enough_but_not_less(
    tmp_path: Path,
    memories: list[int],
    edge_bytes: int,
    head: int,
    stages: int | None,
    private: bool,
    scheme: str,
) -> None:
    fleet = make_fleet(len(memories), edge_bytes=edge_bytes, memory_bytes=memories)
    if private:
        first = fleet.devices[0].model_copy(update={"privacy": "owner"})
        fleet = fleet.model_copy(update={"devices": (first, *fleet.devices[1:])})
    limits = {"min_head_units": head} | ({"max_stages": stages} if stages else {})
    inputs = inputs_in(tmp_path, fleet, constraints=limits, scheme=scheme)
    if plannable(inputs):
        return
    found = conflict_of(inputs)
    rules = {rule.name: rule for rule in rules_of(inputs)}
    assert found.irreducible
    assert found.rules
    assert not plannable_with_only(inputs, found.rules)
    for name in found.rules:
        assert plannable_with_only(inputs, [other for other in found.rules if other != name])
    mended = Case(inputs=inputs)
    for mend in found.mends:
        mended = mend.apply(mended)
    assert found.mends
    assert plannable(with_memory(mended.inputs, dict(mended.extra_bytes)))
    for mend in found.mends:
        check_not_less(Case(inputs=inputs), mend, [m for m in found.mends if m != mend])
    if len(found.mends) > 1:
        lifted = (rules[name].lift(Case(inputs=inputs)) for name in found.rules)
        assert not any(map(Oracle(most_calls=99).plannable, lifted))


def check_not_less(case: Case, mend: Mend, others: list[Mend]) -> None:
    """With the other changes, but this one a little smaller, or not at all, there is no plan."""
    for other in others:
        case = other.apply(case)
    extra = dict(case.extra_bytes)
    if mend.rule.startswith("memory of "):
        assert mend.amount is not None
        less = int(mend.amount - max(1.0, mend.amount * RESOLUTION) - 1)
        extra[mend.rule.removeprefix("memory of ")] = less
    assert not plannable(with_memory(case.inputs, extra))


def plannable_with_only(inputs: Inputs, names: list[str] | tuple[str, ...]) -> bool:
    """Whether there is a plan if only these constraints hold: told by the planner itself, with
    memories written into the fleet."""
    case, extra = Case(inputs=inputs), {}
    for rule in rules_of(inputs):
        if rule.name in names:
            continue
        if rule.kind == "memory":
            extra[rule.subject] = whole_bytes(inputs)
        elif rule.kind != "links":
            case = rule.lift(case)
    return plannable(with_memory(case.inputs, extra))


def test_an_owner_too_small_is_the_whole_conflict(tmp_path: Path) -> None:
    fleet = make_fleet(3, memory_bytes=(5000, 100, 5000))
    found = conflict_of(inputs_in(tmp_path, fleet, clustering={"clusters": 1}))
    assert found.rules == ("memory of d1",)
    (mend,) = found.mends
    assert mend.amount is not None
    assert 720 <= mend.amount <= 720 * (1 + 2 * RESOLUTION)
    assert mend.text == f"give d1 {mend.amount:.0f} B more memory"


def test_a_forbidden_device_and_memories_conflict_and_allowing_it_may_be_least(
    tmp_path: Path,
) -> None:
    devices = [
        make_device("d0", memory_bytes=900, samples=40),
        make_device("big", memory_bytes=90_000),
        make_device("edge0", "edge", memory_bytes=0),
    ]
    fleet = Fleet(devices=tuple(devices), links=LINKS)
    inputs = inputs_in(tmp_path, fleet, constraints={"forbidden_devices": ["big"]})
    found = conflict_of(inputs)
    assert set(found.rules) == {
        "constraints.forbidden_devices: big",
        "memory of d0",
        "memory of edge0",
    }
    assert len(found.mends) == 1


def test_a_missing_link_is_in_the_conflict(tmp_path: Path) -> None:
    fleet = make_fleet(2)
    lonely = Link(between=("d1", "edge0"), bandwidth_bits_per_s=8e6)
    found = conflict_of(
        inputs_in(tmp_path, Fleet(devices=fleet.devices, links=(lonely,)), scheme="sfl-v2")
    )
    assert "links of d0" in found.rules or "links of edge0" in found.rules
    (mend,) = found.mends
    assert "link " in mend.text


def test_a_latency_objective_is_loosened_as_little_as_is_enough(tmp_path: Path) -> None:
    service = {"id": "ask", "rate_per_s": 1.0, "origin": "d0", "slo_s": 1e-4}
    inputs = inputs_in(tmp_path, make_fleet(2), services=[service], clustering={"clusters": 1})
    found = conflict_of(inputs)
    assert any(name.startswith("services[ask].slo_s") for name in found.rules)
    (mend,) = found.mends
    assert mend.amount is not None
    for slo_s, possible in ((mend.amount, True), (mend.amount * 0.99, False)):
        changed = inputs.job.services[0].model_copy(update={"slo_s": slo_s})
        job = inputs.job.model_copy(update={"services": (changed,)})
        assert plannable(replace(inputs, job=job)) is possible


def test_too_many_clusters_are_mended_by_the_nearest_number(tmp_path: Path) -> None:
    found = conflict_of(inputs_in(tmp_path, make_fleet(4), clustering={"clusters": 6}))
    assert found.rules == ("clustering.clusters 6",)
    (mend,) = found.mends
    assert mend.text == "let clustering.clusters be 4"


def test_what_no_constraint_forbids_has_no_conflict(tmp_path: Path) -> None:
    inputs = inputs_in(tmp_path, Fleet(devices=(make_device("a"),)))
    with pytest.raises(InfeasibleError) as caught:
        plan_inputs(inputs, tmp_path)
    told = with_conflict(caught.value, inputs)
    assert told.conflict == ()
    assert told.mend is None
    assert "owns data" in told.message


def test_large_fleets_are_only_searched_for_a_conflict_if_asked(tmp_path: Path) -> None:
    inputs = inputs_in(tmp_path, make_fleet(4), clustering={"clusters": 6})
    with pytest.raises(InfeasibleError) as caught:
        plan_inputs(inputs, tmp_path)
    plain = with_conflict(caught.value, inputs, most_devices=4)
    assert (str(plain), plain.conflict) == (str(caught.value), ())
    assert with_conflict(caught.value, inputs, most_devices=5).conflict
    assert with_conflict(caught.value, inputs, most_devices=None).conflict


def test_a_fatal_loss_is_told_with_its_conflict_and_mend(tmp_path: Path) -> None:
    fleet = make_fleet(2, memory_bytes=(900,), edge_bytes=50_000)
    inputs = inputs_in(tmp_path, fleet, clustering={"clusters": 1}, robust={"survive": 1})
    found = plan_inputs(inputs, tmp_path)
    assert [f.lost for f in found.fallbacks if not f.feasible] == ["edge0"]
    told = fatal_loss(found, inputs)
    assert told is not None
    assert "the loss of edge0 is fatal" in told.message
    assert told.conflict == ("memory of d0", "memory of d1")
    left = surviving_inputs(found, ["edge0"], inputs)
    mends = conflict_of(left).mends
    assert told.mend == "; and ".join(mend.text for mend in mends)
    extra = {m.rule.removeprefix("memory of "): int(m.amount or 0) for m in mends}
    assert plannable(with_memory(left, extra))
    assert fatal_loss(found.model_copy(update={"fallbacks": ()}), inputs) is None
