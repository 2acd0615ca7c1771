"""Frames that lie on a device, waiting to be taken; or that are waited for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gaisnet.errors import RunError
from gaisnet.executor.engines.ray.messages import Failure
from gaisnet.executor.frames import Buffer

__all__ = ["Laid", "Shelf"]


@dataclass(frozen=True, slots=True)
class Laid:
    """A frame, or what kept it from being made."""

    receiver: str
    """Device that it is for."""
    frame: Buffer | None
    failure: Failure | None = None


class Shelf:
    """Frames by token; each is taken once. Lives on one event loop.

    Args:
        limit_s: How long a frame is waited for.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._laid: dict[str, asyncio.Future[Laid]] = {}

    def lay(self, token: str, laid: Laid) -> None:
        """Put a frame there."""
        place = self._place(token)
        if not place.done():
            place.set_result(laid)

    async def take(self, token: str) -> Laid:
        """Take a frame away, as soon as it is there.

        Raises:
            RunError: It has not come in time.
        """
        place = self._place(token)
        try:
            return place.result() if place.done() else await asyncio.wait_for(place, self._limit_s)
        except TimeoutError:
            raise RunError(f"a frame has not come within {self._limit_s:.3g} s") from None
        finally:
            self._laid.pop(token, None)

    def _place(self, token: str) -> asyncio.Future[Laid]:
        if token not in self._laid:
            self._laid[token] = asyncio.get_running_loop().create_future()
        return self._laid[token]
