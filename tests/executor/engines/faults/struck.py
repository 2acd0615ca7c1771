"""A device's process that strikes itself, or another, when it is told to; importing it loads Ray.

Unless it is told to, it does what every device's process does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from gaisnet.executor.engines.base import Answer
from gaisnet.executor.engines.ray.device import DeviceProcess
from gaisnet.executor.engines.ray.queues import Turn
from gaisnet.executor.engines.ray.shelf import Laid
from gaisnet.executor.frames import Buffer, read_header
from tests.executor.engines.faults.deeds import do
from tests.executor.engines.faults.strike import Strike, Watch
from tests.executor.faults.spoiled import SPOILS, spoiled

__all__ = ["StruckProcess", "armed"]

_KINDS = {"forward": "activation", "backward": "gradient", "inference": "activation"}


class StruckProcess(DeviceProcess):
    """Strikes once for every strike that it has been told, in their order."""

    told: Sequence[Strike] = ()
    """From the beginning on."""

    def __init__(self, device: str, *known: Any) -> None:
        super().__init__(device, *known)
        self._strikes = [strike for strike in self.told if strike.device == device]
        self._seen = Watch()
        self._old: bytes | None = None

    async def arm(self, work_s: float, *strikes: str) -> None:
        """Take up strikes, as JSON, instead of those that are left.

        Args:
            work_s: How long others may compute for this device.
            strikes: Its own.
        """
        self._engine.set_patience(replace(self._engine.patience, work_s=work_s))
        self._strikes = [Strike.model_validate_json(each) for each in strikes]
        self._seen, self._old = Watch(), None

    async def place(self, turn: Turn, service: str, blueprint: str) -> str:
        if self._next("joining") is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._pool, self._compute, self._strike, ())
        return await super().place(turn, service, blueprint)

    async def news(self) -> str:
        strike = self._next("shutdown")
        if self._seen.serves and strike is not None and strike.role != "driver":
            self._strike()
        return await super().news()

    def _method(self, service: str, method: str) -> Callable[..., Any]:
        called = super()._method(service, method)
        if not self._strikes:
            return called

        @wraps(called)
        def struck(*arguments: Any) -> Answer:
            strike = next(iter(self._strikes), None)
            due = strike is not None and self._seen.see(strike, service, method, arguments)
            if strike is not None and due and strike.fault not in SPOILS:
                self._strike()
            answer: Answer = called(*arguments)
            return answer

        return struck

    async def _hand_over(self, token: str, receiver: str, laid: Laid) -> None:
        if laid.frame is not None and receiver != self._device:
            laid = replace(laid, frame=self._perhaps_spoiled(laid.frame))
        await super()._hand_over(token, receiver, laid)

    def _perhaps_spoiled(self, frame: Buffer) -> Buffer:
        strike = next(iter(self._strikes), None)
        if strike is None or strike.fault not in SPOILS or not _is_meant(strike, frame):
            return frame
        if strike.phase != "inference" and read_header(frame).round < strike.round:
            self._old = bytes(frame)
            return frame
        self._take_down()
        return spoiled(strike.fault, frame, self._old)

    def _strike(self) -> Answer:
        do(self._take_down())
        return Answer()

    def _take_down(self) -> Strike:
        """The next strike, which is as good as done."""
        strike = self._strikes.pop(0)
        with Path(strike.note).open("a") as note:
            note.write(f"{strike.fault}-{strike.phase}-{strike.role}\n")
        return strike

    def _next(self, phase: str) -> Strike | None:
        strike = next(iter(self._strikes), None)
        return strike if strike is not None and strike.phase == phase else None


def armed(strikes: Sequence[Strike]) -> type[StruckProcess]:
    """Processes that have been told strikes when they start."""
    return type(StruckProcess.__name__, (StruckProcess,), {"told": tuple(strikes)})


def _is_meant(strike: Strike, frame: Buffer) -> bool:
    header = read_header(frame)
    serves = header.stage.startswith("serve/")
    return serves == (strike.phase == "inference") and header.kind == _KINDS.get(
        strike.phase, "modules"
    )
