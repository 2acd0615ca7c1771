"""The calls that are under way: waits for them within bounds, and finds out what became of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from gaisnet.errors import RunError
from gaisnet.executor.engines.base import LostDeviceError
from gaisnet.executor.engines.ray.calls import Call
from gaisnet.executor.engines.ray.health import ENDED, GONE, Health, why_gone
from gaisnet.executor.engines.ray.messages import Failure, Receipt

__all__ = ["HaltedError", "Ledger"]

_LOOK_EVERY_S = 0.2
_AT_ONCE_S = 10.0
"""For what is there already."""
_MOST_UNDER_WAY = 2000
"""More calls than that are not issued before some of them are done."""


class HaltedError(RunError):
    """Something else of the run has failed, so that to go on is in vain."""


class Ledger:
    """Calls by the order in which they were issued.

    Args:
        health: Knows which devices are lost.
        halted: Tells whether to go on is in vain.
        told: Is told of a device when it is lost, borne or not.
        everyone: Whether all devices are seen to while anything is under way, also those that
            work for others than the issuer of these calls.
    """

    def __init__(
        self,
        health: Health,
        halted: Callable[[], bool] = lambda: False,
        told: Callable[[str], None] = lambda device: None,
        *,
        everyone: bool = False,
    ) -> None:
        self._everyone = everyone
        self._health, self._halted, self._told = health, halted, told
        self._under_way: dict[Call, None] = {}
        self._failures: list[Failure] = []
        self._heeded: frozenset[str] = frozenset()
        self._borne: frozenset[str] = frozenset()
        self._losses: dict[str, LostDeviceError] = {}

    def enter(self, call: Call) -> Call:
        """Keep account of a call from now on."""
        call.borne = self._borne
        self._under_way[call] = None
        if len(self._under_way) > _MOST_UNDER_WAY:
            self.wait(next(iter(self._under_way)))
        return call

    def wait(self, call: Call) -> Receipt:
        """The receipt of a call, when it is there.

        Raises:
            LostDeviceError: A device is lost that something was asked of.
            GaisnetError: The call, or one before it, failed. Either way nothing is under way
                any more.
        """
        while call.receipt is None and not self._failures:
            if self._halted():
                self._give_up()
            ray.wait([call.ref], timeout=_LOOK_EVERY_S)
            self._look()
        self._raise_failures()
        assert call.receipt is not None
        return call.receipt

    def answer(self, device: str, ref: Any, limit_s: float) -> Any:
        """What a device gives back for something that is no call in any order.

        Args:
            device: Its id.
            ref: Ray's, to the answer.
            limit_s: Bound of the wait.

        Raises:
            LostDeviceError: The device is lost; nothing is under way any more.
            RunError: It failed, or takes too long.
        """
        until = time.monotonic() + limit_s
        while not ray.wait([ref], timeout=_LOOK_EVERY_S)[0]:
            self._see_to([device], ())
            if device in self._health.lost:
                raise self._health.error(device)
            if time.monotonic() > until:
                raise RunError(f"{device} has not answered within {limit_s:.3g} s", where=device)
        try:
            return ray.get(ref, timeout=_AT_ONCE_S)
        except GONE as error:
            self._health.lose(device, why_gone(error))
            self._see_to([device], ())
            raise self._health.error(device) from error
        except RayError as error:
            raise Failure.of(error, device, "answering").error() from error

    @contextmanager
    def bear(self, devices: Collection[str]) -> Iterator[Mapping[str, LostDeviceError]]:
        """See ``Engine.bear``."""
        self._borne, self._losses = frozenset(devices), {}
        try:
            yield self._losses
            self.settle()
        finally:
            self._borne = frozenset()

    def heed(self, devices: Collection[str]) -> None:
        """See ``Engine.heed``."""
        self._heeded = frozenset(devices)

    def settle(self) -> None:
        """Wait until nothing is under way; raises as ``wait``."""
        while self._under_way:
            self.wait(next(reversed(self._under_way)))
        self._raise_failures()

    def _look(self) -> None:
        """Take in the receipts that are there, and see to the devices of the others."""
        calls = {call.ref: call for call in self._under_way}
        if not calls:
            return
        done, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for ref in done:
            self._take_in(calls[ref])
        devices = {call.device for call in self._under_way}
        devices |= self._health.present if self._everyone else self._heeded - self._losses.keys()
        starting = {call.device for call in self._under_way if call.starts}
        self._see_to(sorted(devices), starting)

    def _see_to(self, devices: Collection[str], starting: Collection[str]) -> None:
        for device in devices:
            try:
                self._health.check([device], starting)
            except LostDeviceError as error:
                self._lose(device, error)

    def _take_in(self, call: Call) -> None:
        try:
            call.receipt = Receipt.model_validate_json(ray.get(call.ref, timeout=_AT_ONCE_S))
        except RayTaskError as error:  # also if it failed because another device ended
            call.receipt = Receipt(failure=Failure.of(error, call.device, call.doing))
        except GONE as error:
            self._health.lose(call.device, why_gone(error))
            return
        except RayError as error:
            call.receipt = Receipt(failure=Failure.of(error, call.device, call.doing))
        del self._under_way[call]
        self._health.heard(call.device)
        failure = call.receipt.failure
        if failure is None:
            return
        if failure.kind == LostDeviceError.__name__ and failure.where is not None:
            why = failure.message.partition(" is lost: ")[2]
            self._health.lose(failure.where, why or ENDED)
            if self._is_borne(call, failure, failure.where):
                self._losses.setdefault(failure.where, self._health.error(failure.where))
                return
        self._failures.append(failure)

    def _lose(self, device: str, error: LostDeviceError) -> None:
        """A device is lost: unless that is borne, all that is under way is given up."""
        # A frame that is on its way to a frozen device never arrives, nor does its sender learn.
        hit = [call for call in self._under_way if call.is_hit_by(device)]
        borne = device in self._borne
        self._withdraw(hit, Failure.of(error, device, ""))
        if borne and device in self._losses:
            return
        self._told(device)
        if borne:
            self._losses[device] = error
            return
        self._drain()
        self._failures.clear()
        raise error

    def _is_borne(self, call: Call, failure: Failure, lost: str) -> bool:
        """What was asked of others before has to come about; they may have needed its frames."""
        if call.is_hit_by(lost):
            return lost in self._borne
        return failure.passed_on and lost in call.borne

    def _withdraw(self, hit: Sequence[Call], failure: Failure) -> None:
        """Give up what a lost device was to do, and tell those that wait for its frames."""
        failure = failure.model_copy(update={"passed_on": True})
        for call in hit:
            del self._under_way[call]
            call.receipt = Receipt(failure=failure)
            if call.spoil is not None:
                call.spoil(failure)

    def _raise_failures(self) -> None:
        if not self._failures:
            return
        self._drain()
        failures, self._failures = self._failures, []
        first = [failure for failure in failures if not failure.passed_on] or failures
        raise first[0].error()

    def _give_up(self) -> None:
        self._drain()
        self._failures.clear()
        raise HaltedError("halted: something else of the run has failed")

    def _drain(self) -> None:
        """After a failure: whatever was issued on top of it comes to its end, too."""
        for call in self._under_way:
            if call.halt is not None:
                call.halt()
        while self._under_way:
            ray.wait([next(iter(self._under_way)).ref], timeout=_LOOK_EVERY_S)
            self._look()
