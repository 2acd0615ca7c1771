"""The engine ray on this machine, beside what it is built on and beside the embedded engine.

Messages of 1.2 and 0.3 MB between two devices' processes against bare calls between two of Ray's
actors with the same NumPy array (beside them, actors that are asynchronous, as a device has to be
to answer while it computes); and a step of split fine-tuning (ViT-Base geometry, LoRA, batch 8,
four stages under u_shape) on ray against the embedded engine, one thread each. Beside them the
floor: the same payload over gloo and over raw TCP, and the same stages in three processes over
gloo alone. All sides alternate in one run, so that contention touches them alike; wall time,
medians.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.alternate import alternate, in_turns
from benchmarks.bare import GlooPair, GlooPipeline, TcpEcho
from benchmarks.executor import make_model, make_shard, split_step
from gaisnet.executor.engines import Engine, LocalEngine, make_engine

DEVICES = ("one", "owner", "server", "two")
MESSAGE_BYTES, MESSAGE_TARGET, STEP_TARGET = 1_200_000, 1.2, 1.15
SMALL_MESSAGE_BYTES = 300_000
_MESSAGES, _TURNS = 10, 10
"""Messages that a side has in a turn, and turns for each repeat of the step, which takes longer."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    for name, found in measure(repeats=options.repeats):
        print(name, flush=True)
        for what, value in found.items():
            print(f"  {what:24s} {value:8.4f}", flush=True)


def measure(*, repeats: int = 7) -> Iterator[tuple[str, dict[str, float]]]:
    """Medians and their ratios, as they are found."""
    torch.set_num_threads(1)
    engine: Any = make_engine("ray", DEVICES)
    try:
        for size in (MESSAGE_BYTES, SMALL_MESSAGE_BYTES):
            yield f"message of {size} bytes", _message(engine, size, repeats)
        yield "step of 4 stages", _step(engine, repeats)
    finally:
        engine.close()


def _message(engine: Any, size: int, repeats: int) -> dict[str, float]:
    import ray

    pairs = [
        [ray.remote(kind).options(num_cpus=0).remote() for _ in range(2)]
        for kind in (_Bare, _BareAsynchronous)
    ]
    with TcpEcho(size) as echo, GlooPair(size) as gloo:
        sides: list[Callable[[], list[float]]] = [
            lambda: engine.time_link("one", "two", size, times=_MESSAGES),
            *(partial(_time, *pair, size) for pair in pairs),
            lambda: gloo.time(_MESSAGES),
            lambda: echo.time(_MESSAGES),
        ]
        found = in_turns(sides, _TURNS * repeats)
    for each in (actor for pair in pairs for actor in pair):
        ray.kill(each)
    return {
        "between devices, s": found[0],
        "bare actor call, s": found[1],
        "  of asynchronous ones": found[2],
        "gloo, s": found[3],
        "raw TCP, s": found[4],
        "ratio": found[0] / found[1],
        "target": MESSAGE_TARGET,
    }


def _time(sender: Any, receiver: Any, size: int) -> list[float]:
    import ray

    taken: list[float] = ray.get(sender.time.remote(receiver, size, _MESSAGES))
    return taken


def _step(engine: Engine, repeats: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder))
        shard = make_shard(model)
        steps = [split_step(model, shard, each) for each in (LocalEngine(), engine)]
        engine.settle()
        with GlooPipeline(Path(folder)) as gloo:
            local_s, ray_s, gloo_s = alternate([*steps, gloo.step], repeats, time.perf_counter)
    return {
        "embedded, s": local_s,
        "ray, s": ray_s,
        "gloo pipeline, s": gloo_s,
        "ratio": ray_s / local_s,
        "target": STEP_TARGET,
    }


class _Bare:
    """An actor that does nothing but send and take arrays."""

    def time(self, peer: Any, size: int, times: int) -> list[float]:
        import numpy as np
        import ray

        content, taken = np.zeros(size, dtype=np.uint8), []
        for _ in range(times):
            started = time.perf_counter()
            ray.get(peer.take.remote(content))
            taken.append(time.perf_counter() - started)
        return taken

    def take(self, content: Any) -> int:
        return len(content)


class _BareAsynchronous:
    """The same on an event loop, which Ray needs two more changes of thread for."""

    async def time(self, peer: Any, size: int, times: int) -> list[float]:
        import numpy as np

        content, taken = np.zeros(size, dtype=np.uint8), []
        for _ in range(times):
            started = time.perf_counter()
            await peer.take.remote(content)
            taken.append(time.perf_counter() - started)
        return taken

    async def take(self, content: Any) -> int:
        return len(content)


if __name__ == "__main__":
    main()
