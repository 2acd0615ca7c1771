"""Whole jobs with figures at and beyond every edge: a valid plan, or an error that says why."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gaisnet.errors import GaisnetError
from gaisnet.planner import plan
from gaisnet.schema.fleet import Device, Fleet, Link
from gaisnet.schema.job import Job
from gaisnet.schema.plan import Plan
from gaisnet.schema.profile import ModelPart
from tests.planner.factory import make_device, make_job, make_model, make_unit, write_files

EXPECTED_CODES = {10, 12, 14}
SPEEDS = st.sampled_from([1e9, 1e9, 1e9, 1e10, 1e-30, 1e30])
BYTES = st.sampled_from([20_000, 9_000, 15_000, 10**15, 3_000, 0])
FLOPS = st.sampled_from([0, 1, 1000, 2**63 - 1])
AMOUNTS = st.sampled_from([0, 1, 1000, 10**15])


@st.composite
def models(draw: st.DrawFn) -> ModelPart:
    count = draw(st.integers(1, 5))
    units = tuple(
        make_unit(
            index,
            count,
            **draw(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "forward_flops": FLOPS,
                        "weight_bytes": AMOUNTS,
                        "output_bytes": AMOUNTS,
                        "working_bytes": AMOUNTS,
                    },
                )
            ),
        )
        for index in range(count)
    )
    return make_model(count, units=units)


@st.composite
def devices(draw: st.DrawFn, name: str) -> Device:
    return make_device(
        name,
        draw(st.sampled_from(["end", "end", "edge", "cloud"])),
        flops_per_s=draw(SPEEDS),
        memory_bytes=draw(BYTES),
        samples=draw(st.sampled_from([40, 1, 0])),
        joules_per_flop=draw(st.sampled_from([1e-9, 1e-9, 0.0, 1e30])),
        privacy=draw(st.sampled_from(["owner", "shared"])),
        trust=draw(st.sampled_from([None, 0.0, 1.0])),
        price_per_hour=draw(st.sampled_from([0.0, 1.0, 1e30])),
    )


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """One to five devices; tiers may be disconnected, links one-sided in speed or very slow."""
    names = [f"n{i}" for i in range(draw(st.integers(1, 5)))]
    ends = st.sampled_from([*names, "end", "edge", "cloud"])
    rates = st.sampled_from([8e6, 8e6, 1e30, 1.0, 1e-30])
    whole = [Link(between=("end", tier), bandwidth_bits_per_s=8e6) for tier in ("edge", "end")]
    links = draw(st.sampled_from([whole, whole, []])) + draw(
        st.lists(
            st.builds(
                Link,
                between=st.tuples(ends, ends),
                bandwidth_bits_per_s=rates,
                reverse_bandwidth_bits_per_s=st.one_of(st.none(), rates),
                latency_s=st.sampled_from([0.0, 0.001, 1e30]),
            ),
            max_size=3,
        )
    )
    return Fleet(devices=tuple(draw(devices(name)) for name in names), links=tuple(links))


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    names = st.sampled_from([f"n{i}" for i in range(5)])
    units = st.integers(0, 5)
    limits = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "min_head_units": st.integers(1, 6),
                "min_tail_units": st.integers(1, 6),
                "max_stages": st.integers(1, 3),
                "forbidden_devices": st.lists(names, max_size=2),
                "forced_devices": st.lists(names, max_size=1),
                "apart_devices": st.lists(st.lists(names, max_size=2), max_size=1),
                "together_devices": st.lists(st.lists(names, max_size=2), max_size=1),
                "colocated_units": st.lists(st.lists(units, max_size=2), max_size=1),
                "max_leakage": st.sampled_from([0.0, 1.0]),
                "step_energy_budget_j": st.sampled_from([0.0, 1e30]),
                "step_cost_budget": st.sampled_from([0.0, 1e-9, 1e30]),
                "memory_slack": st.sampled_from([0.0, 0.5, 1.0]),
                "reserved_bytes": st.sampled_from([0, 1000, 10**15]),
            },
        )
    )
    service: dict[str, Any] = {"id": "s", "rate_per_s": draw(st.sampled_from([1e-30, 1.0, 1e30]))}
    service["slo_s"] = draw(st.sampled_from([None, 1e-30, 1.0, 1e30]))
    clusters = draw(st.sampled_from([None, None, 1, 2, 9]))
    return make_job(
        constraints=limits,
        scheme=draw(st.sampled_from(["hfsl", "hfsl", "hfsl", "fl", "sl", "sfl-v1", "central"])),
        objective=draw(st.sampled_from(["latency", "period", "makespan", "energy"])),
        clustering={} if clusters is None else {"clusters": clusters},
        fine_tuning={
            "batch_size": 8,
            "microbatches": draw(st.sampled_from([1, 8])),
            "topology": draw(st.sampled_from(["u_shape", "vanilla"])),
            "intra": draw(st.sampled_from(["sequential", "merge"])),
        },
        services=draw(st.sampled_from([[], [], [service]])),
        search={"node_limit": 300},
    )


def check(found: Plan, fleet: Fleet) -> None:
    """Every unit of every cluster is held once, in order, within every device's memory."""
    owners = {device.id for device in fleet.devices if device.data is not None}
    for cluster in found.clusters:
        at = cluster.head_units
        for stage in cluster.body:
            assert stage.first_unit == at
            at = stage.last_unit + 1
        assert at == cluster.tail_first_unit <= found.n_units
    fed = [shard for c in found.clusters for owner in c.owners for shard in owner.shards]
    assert sorted(fed) == sorted(owners)
    for device in found.predictions.devices:
        assert device.memory_bytes <= device.limit_bytes
    for certificate in found.certificates:
        assert certificate.bound <= certificate.value * (1 + 1e-9)


def planned_or_refused(path: Path) -> Plan | GaisnetError:
    try:
        return plan(path)
    except GaisnetError as error:
        return error


@settings(max_examples=60, deadline=None)
@given(models(), fleets(), jobs())
def test_a_job_of_any_figures_is_planned_or_refused(
    model: ModelPart, fleet: Fleet, job: Job
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_files(Path(folder), job, fleet, model)
        found = planned_or_refused(path)
    if isinstance(found, Plan):
        check(found, fleet)
        return
    assert found.exit_code in EXPECTED_CODES, found
    assert found.hint


@pytest.mark.parametrize("figure", [float("nan"), float("inf"), -1.0, 1.1e30])
@pytest.mark.parametrize("field", ["flops_per_s", "joules_per_flop", "price_per_hour", "trust"])
def test_figures_that_mean_nothing_are_refused(field: str, figure: float) -> None:
    with pytest.raises(ValidationError):
        make_device("d0", **{field: figure})
