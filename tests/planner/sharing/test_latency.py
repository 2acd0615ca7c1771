"""Predicted latencies against discrete events: every service has queues of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import simpy

from gaisnet.planner.sharing.ways import Visit, Way, latency_s
from tests.planner.sharing.factory import make_service, make_way

RATE = 2.0


def simulate(stays: list[tuple[str, float]], requests: int) -> np.ndarray[Any, Any]:
    """Sojourn times of Poisson requests that pass ``stays`` (queue, seconds) in order."""
    draw = np.random.default_rng(7)
    env, times = simpy.Environment(), np.zeros(requests)
    queues = {name: simpy.Resource(env) for name, _ in stays}

    def request(i: int) -> Any:
        start = env.now
        for name, seconds in stays:
            with queues[name].request() as turn:
                yield turn
                yield env.timeout(seconds)
        times[i] = env.now - start

    def arrivals() -> Any:
        for i in range(requests):
            yield env.timeout(draw.exponential(1.0 / RATE))
            env.process(request(i))

    env.process(arrivals())
    env.run()
    return times[requests // 10 :]


@pytest.mark.parametrize("busy", [0.2, 0.5, 0.7])
def test_constant_services_in_tandem_wait_as_at_the_slowest_alone(busy: float) -> None:
    seconds = {"a": 0.3 * busy / RATE, "b": busy / RATE, "c": 0.9 * busy / RATE}
    way = make_way(make_service(rate_per_s=RATE), seconds)
    times = simulate(list(seconds.items()), 30_000)
    assert latency_s(way, {}) == pytest.approx(times.mean(), rel=0.05)
    assert latency_s(way, {}, 95.0) == pytest.approx(np.quantile(times, 0.95), rel=0.1)


@pytest.mark.parametrize("busy", [0.2, 0.5])
def test_an_entry_that_holds_head_and_tail_is_passed_twice(busy: float) -> None:
    head, tail, body = 0.25 * busy / RATE, 0.5 * busy / RATE, 0.5 * busy / RATE
    entry = Visit(
        resource=("compute", "e"),
        seconds=head + tail,
        times=2,
        burst=2 * (head**2 + tail**2) / (head + tail) ** 2,
    )
    single = make_way(make_service(rate_per_s=RATE), {"b": body})
    way = Way(option=single.option, fixed_s=0.0, visits=(*single.visits, entry))
    times = simulate([("e", head), ("b", body), ("e", tail)], 30_000)
    assert latency_s(way, {}) == pytest.approx(times.mean(), rel=0.1)
    assert latency_s(way, {}, 95.0) >= np.quantile(times, 0.95) * 0.9


def test_a_share_stretches_service_and_queue() -> None:
    way = make_way(make_service(rate_per_s=RATE), {"a": 0.1}, fixed_s=0.3)
    times = simulate([("a", 0.25)], 30_000)
    assert latency_s(way, {("compute", "a"): 0.4}) == pytest.approx(0.3 + times.mean(), rel=0.05)
