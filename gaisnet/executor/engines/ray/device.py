"""What runs on a device: one process with its services, one computation at a time.

The event loop only receives and hands on, so a device answers that it is alive while it computes.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from pydantic_core import to_jsonable_python

from gaisnet.errors import RunError
from gaisnet.executor.compute import computed
from gaisnet.executor.conductor import Conductor
from gaisnet.executor.devicelog import DeviceLog, secrets_of
from gaisnet.executor.engines.base import Answer, LostDeviceError
from gaisnet.executor.engines.ray.health import GONE, why_gone
from gaisnet.executor.engines.ray.messages import (
    DeviceFacts,
    DeviceNews,
    Failure,
    Hello,
    Made,
    Receipt,
    unpack_arguments,
    unpack_blueprint,
)
from gaisnet.executor.engines.ray.patience import Patience
from gaisnet.executor.engines.ray.peer import PeerEngine
from gaisnet.executor.engines.ray.queues import Queues, Turn
from gaisnet.executor.engines.ray.reach import UnreachableError, answered
from gaisnet.executor.engines.ray.shelf import Laid, Shelf
from gaisnet.executor.frames import Buffer, payload_bytes
from gaisnet.executor.workshop import Workshop
from gaisnet.garbage import leave_alone
from gaisnet.heap import keep_freed_memory
from gaisnet.schema.watch import LogLevel

__all__ = ["DeviceProcess"]

_OWN_SHARE = 7 / 8
"""Of the time in which a silent device is to be found: whoever runs the plan learns it later."""


class _PassedOnError(Exception):
    """A frame that a call takes was never made."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure.model_copy(update={"passed_on": True})


class DeviceProcess:
    """A device's services, and the frames that lie there.

    Args:
        device: Id of the device.
        issuer: Name of this process among those that issue calls.
        threads: CPU threads that it computes with.
        patience: Bounds of all waits.
        log_level: Of the device's log.
    """

    def __init__(
        self,
        device: str,
        issuer: str,
        threads: int,
        patience: Patience,
        log_level: LogLevel = "info",
    ) -> None:
        frame_limit_s = patience.frame_s
        keep_freed_memory()
        leave_alone()
        self._device = device
        self._services: dict[str, object] = {}
        self._engine = PeerEngine(issuer, {}, patience, self._is_halted)
        self._workshop = Workshop(self._engine)
        self._shelf = Shelf(frame_limit_s)
        self._queues = Queues(frame_limit_s)
        self._peers: dict[str, Any] = {}
        self._frame_limit_s = frame_limit_s
        self._silence_s = _OWN_SHARE * patience.silence_s
        self._conducting: str | None = None
        self._halted: set[str] = set()
        self._busy_since: float | None = None
        self._calls = 0
        self._leaving = False
        self._log = DeviceLog(device, log_level, secrets_of(os.environ))
        logging.getLogger().addHandler(self._log)
        # torch keeps the number of threads per thread: the one that computes has to set it.
        set_threads = torch.set_num_threads
        self._pool = ThreadPoolExecutor(1, initializer=set_threads, initargs=(threads,))
        self._conductors = ThreadPoolExecutor(1)

    async def hello(self) -> str:
        """``messages.Hello``, as text."""
        return Hello.here().model_dump_json()

    async def pulse(self) -> tuple[float, int]:
        """How long the present computation has taken so far, 0 between two; and calls done."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since, self._calls

    async def leave(self) -> None:
        """Whoever runs the plan is to be told that this device wants to take part no longer."""
        self._leaving = True
        self._log.warn("asked to leave after this round")

    async def news(self) -> str:
        """``messages.DeviceNews``, as text; the lines are given once."""
        return DeviceNews(lines=self._log.take(), leaving=self._leaving).model_dump_json()

    async def facts(self) -> str:
        """``messages.DeviceFacts``, as text."""
        return DeviceFacts.here().model_dump_json()

    async def meet(self, peers: dict[str, Any]) -> None:
        """Handles of all devices' processes."""
        self._peers = peers
        self._engine.meet(peers)

    async def forget(self, issuer: str) -> None:
        """Whoever issued calls under that name is lost: what waits is given up, nothing follows."""
        self._queues.forget(issuer)

    async def lose(self, device: str, why: str) -> None:
        """Whoever runs the plan has given a device up: nothing conducted here may count on it."""
        self._engine.lose(device, why)

    async def halt(self, token: str) -> None:
        """To go on with that call is in vain: something else of the run has failed."""
        self._halted.add(token)

    async def time_link(self, peer: Any, frame_bytes: int, times: int) -> list[float]:
        """Seconds until another device has so many bytes, and has said so; ``times`` times."""
        content, taken_s = bytes(frame_bytes), []
        for _ in range(times):
            started = time.perf_counter()
            await self._taken(peer, peer.swallow.remote("", content))
            taken_s.append(time.perf_counter() - started)
        return taken_s

    async def swallow(self, token: str, frame: bytes) -> None:
        """As ``accept``, but for nothing."""

    async def place(self, turn: Turn, service: str, blueprint: str) -> str:
        """Build a service when its turn has come."""

        def build() -> Answer:
            started = time.monotonic()
            self._services[service] = self._workshop.build(unpack_blueprint(blueprint))
            self._log.placed(service, time.monotonic() - started)
            return Answer()

        return (await self._in_turn(turn, service, f"building {service}", (), build))[0]

    async def call(
        self,
        turn: Turn,
        service: str,
        method: str,
        arguments: str,
        taken: Sequence[str],
        made: Sequence[str] | None,
        token: str,
    ) -> str:
        """Call a service when its turn has come and the frames that it takes are there.

        Args:
            turn: Of whoever asks.
            service: Its name.
            method: Of the service.
            arguments: Packed.
            taken: Tokens of frames.
            made: Tokens for the frames that are promised, if their number is.
            token: What tokens of other frames begin with.

        Returns:
            A receipt.
        """

        def work(*frames: Buffer) -> Answer:
            called = self._method(service, method)
            answer: Answer = called(*unpack_arguments(called, arguments), *frames)
            if made is not None and len(answer.frames) != len(made):
                raise RunError(
                    f"{method} of {service} on {self._device} made {len(answer.frames)} frames, "
                    f"not {len(made)}"
                )
            return answer

        doing = f"{service}.{method}"
        receipt, answer = await self._in_turn(turn, service, doing, taken, work, token)
        if answer is not None:
            for place, (receiver, frame) in enumerate(answer.frames):
                self._shelf.lay(f"{token}.{place}", Laid(receiver, frame))
        else:
            failure = Receipt.model_validate_json(receipt).failure
            for promised in made or ():
                self._shelf.lay(promised, Laid("", None, failure))
        return receipt

    async def send(self, token: str, arrival: str, receiver: str) -> str:
        """Carry a frame to another device, or leave it here; it lies there as ``arrival``."""
        try:
            laid = await self._shelf.take(token)
            if laid.failure is None and laid.receiver != receiver:
                raise RunError(f"a frame for {laid.receiver} was to be sent to {receiver}")
        except RunError as error:
            laid = Laid(receiver, None, Failure.of(error, self._device, "sending"))
        try:
            await self._hand_over(arrival, receiver, laid)
        except GONE as end:
            told = f"device {receiver} is lost: {why_gone(end)}"
            gone = LostDeviceError(told, where=receiver)
            laid = Laid(receiver, None, Failure.of(gone, self._device, "sending"))
        except UnreachableError as silence:
            told = f"device {receiver} is lost: {silence}, asked by {self._device}"
            gone = LostDeviceError(told, where=receiver)
            laid = Laid(receiver, None, Failure.of(gone, self._device, "sending"))
        except TimeoutError:
            late = RunError(f"{receiver} has not taken a frame in time", where=receiver)
            laid = Laid(receiver, None, Failure.of(late, self._device, "sending"))
        return Receipt(failure=None if laid.frame is not None else laid.failure).model_dump_json()

    async def accept(self, token: str, frame: bytes) -> None:
        """Take in a frame."""
        self._shelf.lay(token, Laid(self._device, frame))

    async def miss(self, token: str, failure: str) -> None:
        """Take in the news that a frame was never made."""
        self._shelf.lay(token, Laid(self._device, None, Failure.model_validate_json(failure)))

    async def fetch(self, token: str) -> bytes | str:
        """A frame's bytes, or a failure as text."""
        laid = await self._shelf.take(token)
        if laid.frame is None:
            assert laid.failure is not None
            return laid.failure.model_dump_json()
        return bytes(laid.frame)

    async def _hand_over(self, token: str, receiver: str, laid: Laid) -> None:
        if receiver == self._device:
            self._shelf.lay(token, laid)
            return
        peer = self._peers[receiver]
        if laid.frame is None:
            assert laid.failure is not None
            await self._taken(peer, peer.miss.remote(token, laid.failure.model_dump_json()))
            return
        await self._taken(peer, peer.accept.remote(token, bytes(laid.frame)))
        self._log.sent(receiver, len(laid.frame))

    async def _taken(self, peer: Any, sent: Any) -> None:
        """Wait until another device has taken something in; raises as ``reach.answered``."""
        await answered(
            sent.future(),
            lambda: peer.pulse.remote().future(),
            self._silence_s,
            self._frame_limit_s,
        )

    async def _in_turn(
        self,
        turn: Turn,
        service: str,
        doing: str,
        taken: Sequence[str],
        work: Callable[..., Answer],
        token: str = "",
    ) -> tuple[str, Answer | None]:
        try:
            async with self._queues.turn(turn, service):
                frames = [await self._take(each) for each in taken]
                answer, seconds = await self._run(service, work, frames, token)
        except _PassedOnError as error:
            return Receipt(failure=error.failure).model_dump_json(), None
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the issuer is to know
            self._log.failed(doing, error)
            failure = Failure.of(error, self._device, doing)
            return Receipt(failure=failure).model_dump_json(), None
        made = tuple(
            Made(receiver=receiver, frame_bytes=len(frame), payload_bytes=payload_bytes(frame))
            for receiver, frame in answer.frames
        )
        self._log.called(doing, seconds, sum(each.frame_bytes for each in made))
        values = json.dumps(to_jsonable_python(answer.values))
        receipt = Receipt(values=values, made=made, work_s=seconds)
        return receipt.model_dump_json(), answer

    async def _take(self, token: str) -> Buffer:
        laid = await self._shelf.take(token)
        if laid.frame is None:
            assert laid.failure is not None
            raise _PassedOnError(laid.failure)
        return laid.frame

    async def _run(
        self, service: str, work: Callable[..., Answer], frames: Sequence[Buffer], token: str
    ) -> tuple[Answer, float]:
        """On the thread that computes; what conducts others has one of its own."""
        loop = asyncio.get_running_loop()
        if token and isinstance(self._services.get(service), Conductor):
            self._conducting = token
            return await loop.run_in_executor(self._conductors, _timed, work, frames)
        return await loop.run_in_executor(self._pool, self._compute, work, frames)

    def _is_halted(self) -> bool:
        return self._conducting in self._halted

    def _compute(
        self, work: Callable[..., Answer], frames: Sequence[Buffer]
    ) -> tuple[Answer, float]:
        self._busy_since = time.monotonic()
        try:
            return _timed(partial(computed, self._device, work), frames)
        finally:
            self._busy_since = None
            self._calls += 1

    def _method(self, service: str, method: str) -> Callable[..., Any]:
        found = self._services.get(service)
        called = None if method.startswith("_") else getattr(found, method, None)
        if called is None:
            raise RunError(f"no service {service} with {method} on {self._device}")
        method_found: Callable[..., Any] = called
        return method_found


def _timed(work: Callable[..., Answer], frames: Sequence[Buffer]) -> tuple[Answer, float]:
    started = time.monotonic()
    answer = work(*frames)
    return answer, time.monotonic() - started
