"""Waits for what another device has to do, and asks it meanwhile whether it can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["UnreachableError", "answered"]

_PARTS = 4
"""So often a silent device is looked for within the time in which it has to answer."""


class UnreachableError(Exception):
    """A device does not answer."""


async def answered(
    awaited: asyncio.Future[Any],
    ask: Callable[[], asyncio.Future[Any]],
    silence_s: float,
    limit_s: float,
) -> None:
    """Return when it is done. What takes long is no fault as long as the other device answers.

    A silence is counted in parts, each as long as it was meant to be: a device that has itself
    been stopped for a while does not take the others for silent.

    Args:
        awaited: What the other device does, and says when it is done.
        ask: Asks it for a sign of life.
        silence_s: It is unreachable when it has given none for so long.
        limit_s: Bound of the whole.

    Raises:
        UnreachableError: The other device is silent.
        TimeoutError: It takes too long, although the device answers.
    """
    loop, part_s = asyncio.get_running_loop(), silence_s / _PARTS
    until, silent_s, asked = loop.time() + limit_s, 0.0, None
    while not awaited.done():
        began = loop.time()
        waits = {awaited} if asked is None else {awaited, asked}
        await asyncio.wait(waits, timeout=part_s, return_when=asyncio.FIRST_COMPLETED)
        silent_s += min(part_s, loop.time() - began)
        if awaited.done():
            break
        if asked is None:
            asked = ask()
            asked.add_done_callback(_heard)
        elif asked.done():
            asked.result()
            silent_s, asked = 0.0, None
        elif silent_s >= silence_s * (1 - 1e-9):
            raise UnreachableError(f"it has not answered for {silence_s:.3g} s")
        if loop.time() > until:
            raise TimeoutError
    awaited.result()


def _heard(asked: asyncio.Future[Any]) -> None:
    """Whatever came of it: nobody may wait for it any longer."""
    if not asked.cancelled():
        asked.exception()
