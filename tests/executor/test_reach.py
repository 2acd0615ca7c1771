"""How a device that sends finds out that the receiver is silent, and does not take slow for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest

from gaisnet.executor.engines.ray.reach import UnreachableError, answered

Ask = Callable[[], Future[Any]]
SILENCE_S, LONG_S = 0.2, 30.0


def alive() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result((0.0, 0))
    return future


def silent() -> Future[Any]:
    return Future()


def failed() -> Future[Any]:
    future = silent()
    future.set_exception(ConnectionError("its process has ended"))
    return future


def wait(ask: Ask, done_after_s: float | None = None, limit_s: float = LONG_S) -> None:
    async def run() -> None:
        awaited = silent()
        if done_after_s is not None:
            asyncio.get_running_loop().call_later(done_after_s, awaited.set_result, None)
        await answered(awaited, ask, SILENCE_S, limit_s)

    asyncio.run(run())


def test_what_takes_long_is_waited_for_while_the_device_answers():
    wait(alive, done_after_s=3 * SILENCE_S)


def test_a_device_that_does_it_at_once_is_not_asked_besides():
    def asked() -> Future[Any]:
        raise AssertionError("a message more for each frame")

    wait(asked, done_after_s=0.0)


def test_a_silent_device_is_unreachable():
    with pytest.raises(UnreachableError, match=r"for 0\.2 s"):
        wait(silent)


def test_an_answer_that_comes_late_begins_the_count_anew():
    asked: list[Future[Any]] = []

    def late() -> Future[Any]:
        asked.append(silent())
        asyncio.get_running_loop().call_later(SILENCE_S / 2, asked[-1].set_result, (0.0, 0))
        return asked[-1]

    wait(late, done_after_s=4 * SILENCE_S)
    assert len(asked) > 1


def test_a_device_that_has_ended_is_told_of():
    with pytest.raises(ConnectionError, match="has ended"):
        wait(failed)


def test_it_does_not_take_longer_than_its_limit_either():
    with pytest.raises(TimeoutError):
        wait(alive, limit_s=2 * SILENCE_S)


def test_a_device_that_was_itself_stopped_does_not_take_others_for_silent():
    """It answers a part later, as soon as this loop takes that in."""

    def stopped() -> Future[Any]:
        future = silent()
        loop = asyncio.get_running_loop()
        loop.call_later(SILENCE_S / 4, time.sleep, 3 * SILENCE_S)
        loop.call_later(3.5 * SILENCE_S, future.set_result, (0.0, 0))
        return future

    wait(stopped, done_after_s=4 * SILENCE_S)
