"""A virtual clock: tasks are recorded while a run works, then replayed in the fleet's time.

A device computes one task at a time, and a directed link carries one frame at a time; whoever
is ready first is served first, and of those that are ready at the same instant the one that was
recorded first. So a replay depends on the recorded tasks alone.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import simpy

from gaisnet.executor.simulate.timeline import Resource, Timeline

__all__ = ["VirtualClock"]

_FIRST_CLAIM = 2  # SimPy's own priorities are 0 (urgent) and 1 (normal)


@dataclass(frozen=True, slots=True)
class _Task:
    id: int
    resource: Resource
    seconds: float
    after: tuple[int, ...]


class VirtualClock:
    """Records tasks and replays them with queues (SimPy, discrete events)."""

    def __init__(self) -> None:
        self._tasks: list[_Task] = []

    def __len__(self) -> int:
        return len(self._tasks)

    def compute(self, device: str, seconds: float, after: Iterable[int] = ()) -> int:
        """Record work on a device.

        Args:
            device: Who computes; one task at a time.
            seconds: How long it takes.
            after: Ids of tasks that must be done before.

        Returns:
            The task's id.

        Raises:
            ValueError: ``seconds`` is negative or not finite, or ``after`` names no earlier task.
        """
        return self._record(device, seconds, after)

    def transfer(
        self, sender: str, receiver: str, seconds: float, after: Iterable[int] = ()
    ) -> int:
        """Record a frame over the directed link from ``sender`` to ``receiver``; see ``compute``.

        ``seconds`` is the whole hold of the link, latency included. A device hands to itself
        without a link: nothing queues then.
        """
        link = (sender, receiver) if sender != receiver else None
        return self._record(link, seconds, after)

    def delay(self, seconds: float, after: Iterable[int] = ()) -> int:
        """Record time that passes without a resource (an arrival, a wait); see ``compute``."""
        return self._record(None, seconds, after)

    def _record(self, resource: Resource, seconds: float, after: Iterable[int]) -> int:
        before = tuple(sorted(set(after)))
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"a task cannot take {seconds} seconds")
        if before and not 0 <= before[0] <= before[-1] < len(self._tasks):
            raise ValueError(f"a task waits for {before}, but only {len(self._tasks)} are known")
        self._tasks.append(_Task(len(self._tasks), resource, float(seconds), before))
        return len(self._tasks) - 1

    def replay(self, *, jitter: float = 0.0, seed: int = 0) -> Timeline:
        """Run all tasks in virtual time.

        Args:
            jitter: Standard deviation of the logarithm of a factor, of mean one, on each task's
                seconds; 0 leaves them exact.
            seed: Seed of the factors; task ``i`` gets the same one whatever comes after it.

        Returns:
            When each task was ready, started and ended.

        Raises:
            ValueError: ``jitter`` is negative or not finite.
        """
        if not (math.isfinite(jitter) and jitter >= 0):
            raise ValueError(f"jitter must be a finite figure of at least 0, not {jitter}")
        factors = _jitter_factors(len(self._tasks), jitter, seed)
        replay = _Replay(self._tasks)
        for task, factor in zip(self._tasks, factors, strict=True):
            replay.start(task, task.seconds * factor)
        return replay.run()


def _jitter_factors(n_tasks: int, jitter: float, seed: int) -> list[float]:
    """Log-normal factors with mean one."""
    if jitter == 0:
        return [1.0] * n_tasks
    normals = np.random.Generator(np.random.Philox(seed)).standard_normal(n_tasks)
    return [float(x) for x in np.exp(jitter * normals - jitter**2 / 2)]


class _Claim(simpy.events.Event):  # type: ignore[misc]
    """Fires at the instant it is made, but after all else of that instant, by task id.

    Without it, who of two tasks that are ready at the same instant comes first would hang on
    the order in which SimPy happened to wake them.
    """

    def __init__(self, env: simpy.Environment, task: int) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        env.schedule(self, priority=_FIRST_CLAIM + task)


class _Replay:
    """One pass over the recorded tasks."""

    def __init__(self, tasks: list[_Task]) -> None:
        self._env = simpy.Environment()
        self._tasks = tasks
        self._done: list[simpy.Process] = []
        self._queues: dict[Resource, simpy.Resource] = {}
        self._ready_s, self._start_s, self._finish_s = ([0.0] * len(tasks) for _ in range(3))

    def start(self, task: _Task, seconds: float) -> None:
        self._done.append(self._env.process(self._work(task, seconds)))

    def run(self) -> Timeline:
        self._env.run()
        return Timeline(
            resources=tuple(task.resource for task in self._tasks),
            ready_s=tuple(self._ready_s),
            start_s=tuple(self._start_s),
            finish_s=tuple(self._finish_s),
        )

    def _work(self, task: _Task, seconds: float) -> Generator[Any, Any, None]:
        yield self._env.all_of([self._done[before] for before in task.after])
        self._ready_s[task.id] = self._env.now
        if task.resource is None:
            yield from self._spend(task, seconds)
            return
        yield _Claim(self._env, task.id)
        with self._queue(task.resource).request() as turn:
            yield turn
            yield from self._spend(task, seconds)

    def _spend(self, task: _Task, seconds: float) -> Generator[Any, Any, None]:
        self._start_s[task.id] = self._env.now
        yield self._env.timeout(seconds)
        self._finish_s[task.id] = self._env.now

    def _queue(self, resource: Resource) -> simpy.Resource:
        if resource not in self._queues:
            self._queues[resource] = simpy.Resource(self._env, capacity=1)
        return self._queues[resource]
