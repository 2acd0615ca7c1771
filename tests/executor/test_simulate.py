"""The virtual clock against closed forms and a list scheduler."""

from __future__ import annotations

import heapq
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaisnet.executor.simulate import Timeline, VirtualClock

Recorded = list[tuple[object, float, tuple[int, ...]]]


def pipeline(stage_s: list[float], transfer_s: list[float], microbatches: int) -> Timeline:
    """A forward pipeline: micro-batches go through stages d0, d1, … over the links between."""
    clock = VirtualClock()
    for _ in range(microbatches):
        at: tuple[int, ...] = ()
        for n, seconds in enumerate(stage_s):
            at = (clock.compute(f"d{n}", seconds, at),)
            if n < len(transfer_s):
                at = (clock.transfer(f"d{n}", f"d{n + 1}", transfer_s[n], at),)
    return clock.replay()


@pytest.mark.parametrize("stages", [1, 2, 5])
@pytest.mark.parametrize("microbatches", [1, 3, 8])
def test_equal_stages_take_stages_plus_microbatches_minus_one_turns(stages, microbatches):
    timeline = pipeline([0.25] * stages, [0.0] * (stages - 1), microbatches)
    assert timeline.makespan_s == (stages + microbatches - 1) * 0.25


@given(
    stage_s=st.lists(st.integers(0, 20), min_size=1, max_size=6),
    hops=st.lists(st.integers(0, 20), min_size=5, max_size=5),
    microbatches=st.integers(1, 6),
)
@settings(deadline=None, max_examples=60)
def test_makespan_of_a_pipeline_is_latency_plus_periods(stage_s, hops, microbatches):
    transfer_s = hops[: len(stage_s) - 1]
    timeline = pipeline(stage_s, transfer_s, microbatches)
    latency, period = sum(stage_s) + sum(transfer_s), max([*stage_s, *transfer_s])
    assert timeline.makespan_s == latency + (microbatches - 1) * period


def test_independent_clusters_run_side_by_side():
    clock = VirtualClock()
    for cluster, seconds in [("a", 3.0), ("b", 5.0)]:
        first = clock.compute(f"{cluster}0", seconds)
        clock.compute(f"{cluster}1", 1.0, [first])
    assert clock.replay().makespan_s == 6.0


def test_a_server_that_clusters_share_makes_them_wait():
    clock = VirtualClock()
    tasks = [clock.compute("server", 2.0, [clock.compute(f"end{n}", 1.0)]) for n in range(3)]
    timeline = clock.replay()
    assert [timeline.finish_s[t] for t in tasks] == [3.0, 5.0, 7.0]
    assert [timeline.queued_s(t) for t in tasks] == [0.0, 2.0, 4.0]
    assert timeline.device_busy_s["server"] == 6.0


def test_a_link_carries_one_frame_at_a_time_in_each_direction():
    clock = VirtualClock()
    clock.transfer("a", "b", 2.0)
    clock.transfer("a", "b", 2.0)
    clock.transfer("b", "a", 3.0)
    timeline = clock.replay()
    assert timeline.makespan_s == 4.0
    assert timeline.link_busy_s == {("a", "b"): 4.0, ("b", "a"): 3.0}


def test_neither_delays_nor_hand_overs_to_oneself_queue():
    clock = VirtualClock()
    for _ in range(3):
        clock.delay(2.0)
        clock.transfer("a", "a", 1.0)
    timeline = clock.replay()
    assert timeline.makespan_s == 2.0
    assert timeline.link_busy_s == {}
    assert timeline.device_busy_s == {}


def test_first_come_first_served_even_if_recorded_later():
    clock = VirtualClock()
    late = clock.compute("server", 1.0, [clock.delay(5.0)])
    early = clock.compute("server", 9.0, [clock.delay(4.0)])
    timeline = clock.replay()
    assert timeline.finish_s[early] == 13.0
    assert timeline.start_s[late] == 13.0


def test_of_those_ready_at_once_the_first_recorded_goes_first():
    clock = VirtualClock()
    slow_to_wake = clock.delay(0.0, [clock.delay(0.0, [clock.delay(1.0)])])
    first = clock.compute("server", 1.0, [slow_to_wake])
    second = clock.compute("server", 1.0, [clock.delay(1.0)])
    timeline = clock.replay()
    assert (timeline.start_s[first], timeline.start_s[second]) == (1.0, 2.0)


def test_nothing_recorded_takes_no_time():
    assert VirtualClock().replay().makespan_s == 0.0


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_impossible_durations_are_refused(seconds):
    with pytest.raises(ValueError, match="seconds"):
        VirtualClock().compute("a", seconds)


@pytest.mark.parametrize("after", [0, 1, -1])
def test_a_task_cannot_wait_for_one_not_yet_recorded(after):
    with pytest.raises(ValueError, match="waits for"):
        VirtualClock().compute("a", 1.0, [after])


@st.composite
def recordings(draw: st.DrawFn) -> Recorded:
    places = ["a", "b", "c", ("a", "b"), ("b", "a"), ("b", "c"), None]
    tasks: Recorded = []
    for n in range(draw(st.integers(0, 25))):
        before = draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set()
        seconds = draw(st.integers(0, 5)) if n % 2 else draw(st.floats(0, 3, width=16))
        tasks.append((draw(st.sampled_from(places)), seconds, tuple(sorted(before))))
    return tasks


def record(tasks: Recorded) -> VirtualClock:
    clock = VirtualClock()
    for place, seconds, after in tasks:
        if place is None:
            clock.delay(seconds, after)
        elif isinstance(place, str):
            clock.compute(place, seconds, after)
        else:
            clock.transfer(*place, seconds, after)
    return clock


def list_schedule(tasks: Recorded) -> tuple[float, ...]:
    """Finish times: tasks are taken up by (ready, id), each when its resource is free."""
    waits = [len(after) for _, _, after in tasks]
    heap = [(0.0, n) for n, count in enumerate(waits) if count == 0]
    free: dict[object, float] = {}
    finish = [0.0] * len(tasks)
    while heap:
        ready, n = heapq.heappop(heap)
        place, seconds, _ = tasks[n]
        start = max(ready, free.get(place, 0.0)) if place is not None else ready
        finish[n] = free[place] = start + seconds
        for m, (_, _, after) in enumerate(tasks):
            if n in after:
                waits[m] -= 1
                if waits[m] == 0:
                    heapq.heappush(heap, (max(finish[k] for k in after), m))
    return tuple(finish)


@given(recordings())
@settings(deadline=None, max_examples=150)
def test_replay_equals_a_list_scheduler(tasks):
    assert record(tasks).replay().finish_s == list_schedule(tasks)


@given(recordings())
@settings(deadline=None, max_examples=60)
def test_makespan_is_at_least_every_busy_time_and_the_critical_path(tasks):
    timeline = record(tasks).replay()
    path = [0.0] * len(tasks)
    for n, (_, seconds, after) in enumerate(tasks):
        path[n] = seconds + max((path[k] for k in after), default=0.0)
    busy = [*timeline.device_busy_s.values(), *timeline.link_busy_s.values()]
    assert timeline.makespan_s >= max([*path, *busy], default=0.0) - 1e-9


@given(recordings(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=30)
def test_jitter_is_the_same_for_the_same_seed(tasks, seed):
    clock = record(tasks)
    assert clock.replay(jitter=0.3, seed=seed) == clock.replay(jitter=0.3, seed=seed)


def test_jitter_multiplies_by_factors_of_mean_one():
    clock = VirtualClock()
    for n in range(4000):
        clock.compute(f"d{n}", 2.0)
    timeline = clock.replay(jitter=0.2, seed=5)
    assert sum(timeline.finish_s) / 4000 == pytest.approx(2.0, rel=0.02)
    assert len(set(timeline.finish_s)) == 4000
    assert clock.replay(jitter=0.2, seed=6).finish_s != timeline.finish_s


@pytest.mark.parametrize("jitter", [-0.1, math.nan, math.inf])
def test_impossible_jitter_is_refused(jitter):
    with pytest.raises(ValueError, match="jitter"):
        VirtualClock().replay(jitter=jitter)
