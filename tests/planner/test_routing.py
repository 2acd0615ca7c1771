"""Routing of services against enumeration, and queueing formulas against their special cases."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.errors import InfeasibleError
from gaisnet.planner import plan
from gaisnet.planner.routing.assign import assign, total_latency
from gaisnet.planner.routing.options import Option
from gaisnet.planner.routing.queueing import Loads
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.job import Service
from gaisnet.schema.plan import Plan
from tests.planner.factory import (
    LINKS,
    make_device,
    make_fleet,
    make_job,
    make_model,
    write_files,
)


def option(rate: float, demand: dict[Any, float], **service: Any) -> Option:
    return Option(
        service=Service(id="s", rate_per_s=rate, **service),
        cluster="c0",
        entry="d0",
        demand_s=demand,
    )


def test_one_service_of_fixed_length_waits_as_in_m_d_1() -> None:
    only = option(3.0, {"a": 0.2})
    rho = 0.6
    assert Loads([only]).mean_s(only) == pytest.approx(0.2 + 0.2 * rho / (2 * (1 - rho)))


def test_two_services_wait_as_pollaczek_and_khinchine_say() -> None:
    short, long = option(1.0, {"a": 0.1}), option(0.5, {"a": 0.8})
    wait = (1.0 * 0.1**2 + 0.5 * 0.8**2) / (2 * (1 - 0.5))
    loads = Loads([short, long])
    assert loads.mean_s(short) == pytest.approx(0.1 + wait)
    assert loads.mean_s(long) == pytest.approx(0.8 + wait)


def test_more_than_all_the_time_is_never_answered() -> None:
    too_much = option(5.0, {"a": 0.2, ("a", "b"): 0.1})
    assert not Loads([too_much]).stable
    assert Loads([too_much]).mean_s(too_much) == math.inf


def test_a_percentile_is_what_a_simulated_queue_stays_below() -> None:
    """95 % of requests of an M/D/1 queue (Lindley's recursion) are faster than the estimate."""
    only = option(3.5, {"a": 0.2})
    generator = np.random.default_rng(0)
    gaps = generator.exponential(1 / 3.5, 200_000)
    wait, waits = 0.0, []
    for gap in gaps:
        wait = max(0.0, wait + 0.2 - gap)
        waits.append(wait)
    measured = 0.2 + float(np.quantile(waits, 0.95))
    predicted = Loads([only]).percentile_s(only, 95.0)
    assert measured <= predicted <= 1.3 * measured
    assert 0.2 + float(np.mean(waits)) == pytest.approx(Loads([only]).mean_s(only), rel=0.05)


@st.composite
def choices(draw: st.DrawFn) -> list[list[Option]]:
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    resources = ["a", "b", ("a", "b"), "c"]
    services = [
        Service(
            id=f"s{i}",
            rate_per_s=float(generator.uniform(0.1, 3.0)),
            slo_s=float(generator.uniform(0.3, 3.0)) if generator.random() < 0.5 else None,
            slo_percentile=95.0 if generator.random() < 0.5 else None,
        )
        for i in range(draw(st.integers(1, 4)))
    ]
    return [
        [
            Option(
                service=service,
                cluster=f"c{j}",
                entry="d0",
                demand_s={
                    r: float(generator.uniform(0.0, 0.4))
                    for r in resources
                    if generator.random() < 0.7
                }
                or {"a": 0.1},
            )
            for j in range(draw(st.integers(1, 3)))
        ]
        for service in services
    ]


@settings(max_examples=150, deadline=None)
@given(case=choices())
def test_routing_is_the_best_of_all_assignments(case: list[list[Option]]) -> None:
    best = math.inf
    for routed in product(*case):
        loads = Loads(routed)
        if loads.stable and all(map(loads.meets_slo, routed)):
            best = min(best, total_latency(loads, routed))
    found = assign(case, 10**6)
    assert found.complete
    if best == math.inf:
        assert found.options is None
        return
    assert found.options is not None
    assert [o.service.id for o in found.options] == [c[0].service.id for c in case]
    assert found.value == pytest.approx(best)
    assert found.bound <= best * (1 + 1e-9)


@settings(max_examples=50, deadline=None)
@given(case=choices())
def test_a_bound_of_an_unfinished_search_still_holds(case: list[list[Option]]) -> None:
    whole, cut = assign(case, 10**6), assign(case, 2)
    assert cut.bound <= whole.value * (1 + 1e-9)


def planned(tmp_path: Path, services: list[dict[str, Any]], **changes: Any) -> Plan:
    fleet = changes.pop("fleet", make_fleet(4))
    model = changes.pop("model", make_model(6))
    share = changes.pop("inference_share", 0.2)
    clustering = {"clusters": changes.pop("clusters", 2)}
    job = make_job(services=services, clustering=clustering, inference_share=share, **changes)
    return plan(write_files(tmp_path, job, fleet, model))


def test_requests_enter_at_their_origin(tmp_path: Path) -> None:
    services = [{"id": f"s{i}", "rate_per_s": 0.1, "origin": f"d{i}"} for i in range(4)]
    found = planned(tmp_path, services)
    owners = {c.id: {o.device for o in c.owners} for c in found.clusters}
    for i, route in enumerate(found.routes):
        assert route.entry == f"d{i}"
        assert route.entry in owners[route.cluster]


def test_a_device_without_data_may_ask_if_it_holds_head_and_tail(tmp_path: Path) -> None:
    asker = make_device("asker", memory_bytes=900)
    fleet = Fleet(devices=(*make_fleet(2).devices, asker), links=LINKS)
    found = planned(tmp_path, [{"id": "s", "rate_per_s": 0.1, "origin": "asker"}], fleet=fleet)
    assert found.routes[0].entry == "asker"
    held = next(p for p in found.predictions.devices if p.device == "asker")
    assert 0 < held.weight_bytes <= 900
    assert held.training_bytes == 0
    tiny = make_device("asker", memory_bytes=50)
    fleet = Fleet(devices=(*make_fleet(2).devices, tiny), links=LINKS)
    with pytest.raises(InfeasibleError, match="asker lacks the memory") as caught:
        planned(tmp_path, [{"id": "s", "rate_per_s": 0.1, "origin": "asker"}], fleet=fleet)
    assert "more" in (caught.value.hint or "")


def test_shares_of_a_device_add_up_to_one(tmp_path: Path) -> None:
    services = [{"id": f"s{i}", "rate_per_s": 0.5 + i} for i in range(3)]
    found = planned(tmp_path, services, inference_share=0.3)
    for device in {share.device for share in found.shares}:
        compute = {s.user: s.compute for s in found.shares if s.device == device}
        assert compute.pop("fine-tuning") == pytest.approx(0.7)
        assert sum(compute.values()) in (pytest.approx(0.3), 0)


def test_the_loosest_slo_that_is_named_would_do(tmp_path: Path) -> None:
    service = {"id": "s", "rate_per_s": 1.0, "slo_percentile": 99.0}
    with pytest.raises(InfeasibleError, match="service s: its 99th percentile") as caught:
        planned(tmp_path, [service | {"slo_s": 1e-6}])
    loosest = float((caught.value.hint or "").split(" is ")[1].split(" s;")[0])
    found = planned(tmp_path, [service | {"slo_s": loosest * 1.001}])
    assert found.predictions.services[0].meets_slo
    with pytest.raises(InfeasibleError):
        planned(tmp_path, [service | {"slo_s": loosest * 0.999}])


def test_a_rate_that_no_cluster_stands_says_which_would_do(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="busy") as caught:
        planned(tmp_path, [{"id": "s", "rate_per_s": 1e6}])
    rate = float((caught.value.hint or "").split()[2])
    assert planned(tmp_path, [{"id": "s", "rate_per_s": rate * 0.99}]).routes


def test_personal_modules_answer_their_own_domain_only(tmp_path: Path) -> None:
    devices = [
        make_device(f"d{i}", samples=20, domain="cats" if i < 2 else "dogs") for i in range(4)
    ]
    fleet = Fleet(
        devices=(*devices, make_device("edge0", "edge", memory_bytes=100_000)), links=LINKS
    )
    tuning = {"batch_size": 8, "personal": True}
    service = {"id": "s", "rate_per_s": 0.1, "domain": "dogs"}
    found = planned(tmp_path, [service], fleet=fleet, fine_tuning=tuning)
    domains = {cluster.id: cluster.domain for cluster in found.clusters}
    assert sorted(domains.values()) == ["cats", "dogs"]
    assert domains[found.routes[0].cluster] == "dogs"
    with pytest.raises(InfeasibleError, match="no cluster tunes domain"):
        planned(tmp_path, [service | {"domain": "birds"}], fleet=fleet, fine_tuning=tuning)


def test_generation_pays_for_every_token_and_for_its_caches(tmp_path: Path) -> None:
    service = {"id": "s", "rate_per_s": 0.01, "prompt_tokens": 4}
    short = planned(tmp_path, [service | {"output_tokens": 1}])
    long = planned(tmp_path, [service | {"output_tokens": 5}])
    one, five = (p.predictions.services[0].service_s for p in (short, long))
    assert five > one
    assert planned(tmp_path, [service]).predictions.services[0].service_s == pytest.approx(one)
    caches = {p.device: p.cache_bytes for p in long.predictions.devices}
    assert sum(caches.values()) == 4 * 9 * 64


def test_caches_that_no_device_can_keep_are_refused(tmp_path: Path) -> None:
    service = {"id": "s", "rate_per_s": 1e-9, "prompt_tokens": 4, "output_tokens": 20_000}
    with pytest.raises(InfeasibleError, match="lacks the memory"):
        planned(tmp_path, [service])


def test_side_inputs_travel_with_the_prompt_alone(tmp_path: Path) -> None:
    def step_s(side_input_bytes: int) -> tuple[float, float]:
        """Seconds to the first token, and for the four after it."""
        folder = tmp_path / str(side_input_bytes)
        folder.mkdir()
        found = []
        for tokens in (1, 5):
            service = {"id": "s", "rate_per_s": 0.01, "prompt_tokens": 4, "output_tokens": tokens}
            job = make_job(services=[service], inference_share=0.2)
            model = make_model(side_input_bytes=side_input_bytes)
            path = write_files(folder / str(tokens), job, make_fleet(), model)
            found.append(plan(path).predictions.services[0].service_s)
        return found[0], found[1] - found[0]

    (plain, plain_rest), (masked, masked_rest) = step_s(0), step_s(400)
    assert masked > plain
    assert masked_rest == pytest.approx(plain_rest)
