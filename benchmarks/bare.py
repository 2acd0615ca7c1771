"""The floor below an engine: raw TCP, gloo, and a pipeline of the same stages over gloo alone.

No frames, checks, meters or faults: what is left when only bytes are sent and products computed.
"""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist

from benchmarks.executor import BATCH, SPEC, make_model, make_shard
from gaisnet.executor.optimizers import make_optimizer
from gaisnet.models import FoundationModel, Stage, attach, load_model, make_stage
from gaisnet.schema.model import LoraSpec, ModelSpec

__all__ = ["GlooPair", "GlooPipeline", "TcpEcho"]

_BODY = ((3, 6), (7, 10))
"""Units of the stages on the second and third device; head and tail are the first one's."""
_OWNER, _ENDED = 0, "end"
_LIMIT_S = 120.0


class TcpEcho:
    """A connection over loopback on which every payload is answered by one byte; a context.

    Args:
        payload_bytes: Of every message.
    """

    def __init__(self, payload_bytes: int) -> None:
        self._payload = bytes(payload_bytes)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._other = threading.Thread(target=_answer, args=(self._listener, payload_bytes))

    def __enter__(self) -> Self:
        self._other.start()
        self._here = socket.create_connection(self._listener.getsockname())
        self._here.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._here.close()
        self._other.join(_LIMIT_S)
        self._listener.close()

    def time(self, times: int) -> list[float]:
        """Seconds of each of so many messages, answers among them."""
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            self._here.sendall(self._payload)
            self._here.recv(1)
            taken.append(time.perf_counter() - started)
        return taken


def _answer(listener: socket.socket, payload_bytes: int) -> None:
    connection, _ = listener.accept()
    kept = bytearray(payload_bytes)
    with connection, memoryview(kept) as view:
        while True:
            got = 0
            while got < payload_bytes:
                more = connection.recv_into(view[got:])
                if not more:
                    return
                got += more
            connection.sendall(b"k")


class _GlooProcesses:
    """Processes that reach each other over gloo, and act whenever they are told; a context.

    Args:
        size: So many.
        device: Makes what a process does from its rank and ``arguments``.
    """

    def __init__(self, size: int, device: Callable[..., Callable[[int], object]], *arguments: Any):
        self._size, self._device, self._arguments = size, device, arguments
        self._pipes: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def __enter__(self) -> Self:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        for rank in range(self._size):
            here, there = context.Pipe()
            given = (there, port, self._size, rank, self._device, *self._arguments)
            process = context.Process(target=_live, args=given, daemon=True)
            process.start()
            self._pipes.append(here)
            self._processes.append(process)
        self._hear()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for pipe in self._pipes:
            pipe.send(_ENDED)
        for process in self._processes:
            process.join(_LIMIT_S)

    def _all(self, times: int) -> list[Any]:
        """What all have to say when each has done its part so many times."""
        for pipe in self._pipes:
            pipe.send(times)
        return self._hear()

    def _hear(self) -> list[Any]:
        told = []
        for pipe in self._pipes:
            if not pipe.poll(_LIMIT_S):
                raise RuntimeError("a process over gloo does not answer")
            told.append(pipe.recv())
        return told


class GlooPair(_GlooProcesses):
    """Two processes, one of which answers every payload by one byte.

    Args:
        payload_bytes: Of every message.
    """

    def __init__(self, payload_bytes: int) -> None:
        super().__init__(2, _end_of_pair, payload_bytes)

    def time(self, times: int) -> list[float]:
        """Seconds of each of so many messages, answers among them."""
        taken: list[float] = self._all(times)[0]
        return taken


class GlooPipeline(_GlooProcesses):
    """Three processes that hold the four stages of ``benchmarks.executor``.

    Args:
        folder: For the model's configuration.
    """

    def __init__(self, folder: Path) -> None:
        make_model(folder)  # writes its configuration
        super().__init__(1 + len(_BODY), _device, folder)

    def step(self) -> None:
        """One step of all."""
        self._all(1)


def _live(
    pipe: Connection,
    port: int,
    size: int,
    rank: int,
    device: Callable[..., Callable[[int], object]],
    *arguments: Any,
) -> None:
    torch.set_num_threads(1)
    place = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=size)
    act = device(rank, *arguments)
    pipe.send("ready")
    while (told := pipe.recv()) != _ENDED:
        pipe.send(act(told))
    dist.destroy_process_group()


def _end_of_pair(rank: int, payload_bytes: int) -> Callable[[int], object]:
    payload, answer = (torch.zeros(size, dtype=torch.uint8) for size in (payload_bytes, 1))

    def ask(times: int) -> list[float]:
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            dist.send(payload, 1)
            dist.recv(answer, 1)
            taken.append(time.perf_counter() - started)
        return taken

    def reply(times: int) -> None:
        for _ in range(times):
            dist.recv(payload, 0)
            dist.send(answer, 0)

    return ask if rank == 0 else reply


def _device(rank: int, folder: Path) -> Callable[[int], object]:
    model = _load(folder)
    held = _Owner(model) if rank == _OWNER else _Middle(model, rank)

    def steps(times: int) -> None:
        for _ in range(times):
            held.step()

    return steps


def _load(folder: Path) -> FoundationModel:
    """As ``make_model``, whose file others read at the same time."""
    return attach(load_model(ModelSpec(source=str(folder / "config.json"))), LoraSpec(), seed=0)


def _received(model: FoundationModel, sender: int) -> Tensor:
    config = model.config
    tokens = 1 + (config.image_size // config.patch_size) ** 2
    tensor = torch.empty(BATCH, tokens, config.hidden_size)
    dist.recv(tensor, sender)
    return tensor


class _Middle:
    """A stage of the body."""

    def __init__(self, model: FoundationModel, rank: int) -> None:
        self._model, self._before = model, rank - 1
        self._after = (rank + 1) % (1 + len(_BODY))
        self._stage = make_stage(model, *_BODY[rank - 1])
        self._optimizer = _optimizer(self._stage)

    def step(self) -> None:
        hidden = _received(self._model, self._before).requires_grad_(True)
        output = self._stage({}, hidden)
        dist.send(output.detach(), self._after)
        output.backward(_received(self._model, self._after))
        assert hidden.grad is not None
        dist.send(hidden.grad, self._before)
        _update(self._optimizer)


class _Owner:
    """Head and tail, and the data."""

    def __init__(self, model: FoundationModel) -> None:
        first, last = _BODY[0][0], _BODY[-1][-1]
        self._model, self._shard = model, make_shard(model)
        self._head = make_stage(model, 0, first - 1)
        self._tail = make_stage(model, last + 1, model.n_units - 1)
        self._optimizers = [_optimizer(self._head), _optimizer(self._tail)]
        self._steps = 0

    def step(self) -> None:
        batch = self._shard.batch(self._steps, BATCH, 0)
        self._steps += 1
        output = self._head(batch.inputs)
        dist.send(output.detach(), 1)
        hidden = _received(self._model, len(_BODY)).requires_grad_(True)
        assert batch.labels is not None
        self._model.loss(self._tail({}, hidden), batch.labels).backward()
        assert hidden.grad is not None
        dist.send(hidden.grad, len(_BODY))
        output.backward(_received(self._model, 1))
        for optimizer in self._optimizers:
            _update(optimizer)


def _optimizer(stage: Stage) -> torch.optim.Optimizer:
    parameters: dict[str, nn.Parameter] = stage.parameters_tuned()
    made = make_optimizer(parameters, SPEC)
    assert made is not None
    return made


def _update(optimizer: torch.optim.Optimizer) -> None:
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
