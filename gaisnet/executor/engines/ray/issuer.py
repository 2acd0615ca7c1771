"""Issues calls and frames to devices' processes: the driver's side of the engine, and an edge's."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from gaisnet.errors import RunError
from gaisnet.executor.engines.base import Address, LostDeviceError, Parcel, Reply
from gaisnet.executor.engines.ray.calls import Call, RayParcel, RayReply
from gaisnet.executor.engines.ray.ledger import Ledger
from gaisnet.executor.engines.ray.messages import Failure, Made, pack_arguments
from gaisnet.executor.engines.ray.patience import Patience
from gaisnet.executor.engines.ray.queues import Turn
from gaisnet.executor.frames import Buffer, payload_bytes
from gaisnet.executor.meter import Meter

__all__ = ["Issuer"]

_LOADS = ("read", "ask")


class _SentMeter(Meter):
    """Counts frames that were sent, when it is asked: their sizes are known by then."""

    def __init__(self, settle: Any) -> None:
        super().__init__()
        self._settle = settle
        self._sent: list[tuple[str, str, RayParcel]] = []

    def note(self, sender: str, receiver: str, parcel: RayParcel) -> None:
        """A frame is being sent."""
        self._sent.append((sender, receiver, parcel))

    def take(self) -> Any:
        """Waits until all is done."""
        self._settle()
        sent, self._sent = self._sent, []
        for sender, receiver, parcel in sent:
            made = parcel.made()
            if made is not None and made.receiver == receiver:
                self.add(sender, receiver, made.payload_bytes, made.frame_bytes)
        return super().take()


class Issuer:
    """Whoever has an order of its own in which services do what it asks for.

    Args:
        lane: Name of that order; no two issuers share one.
        actors: Handles of the devices' processes; may change.
        patience: Bounds of all waits.
        ledger: Keeps account of the calls.
    """

    name = "ray"

    def __init__(
        self, lane: str, actors: Mapping[str, Any], patience: Patience, ledger: Ledger
    ) -> None:
        self._lane = lane
        self._actors = actors
        self._patience = patience
        self._ledger = ledger
        self._meter = _SentMeter(self.settle)
        self._numbers: defaultdict[Address, int] = defaultdict(int)
        self._tokens = itertools.count()

    @property
    def patience(self) -> Patience:
        """Bounds of all waits."""
        return self._patience

    @property
    def meter(self) -> Meter:
        """Counts what ``send`` carries over links; ``take`` waits until all is done."""
        return self._meter

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = None,
    ) -> Reply:
        """Have the service called, in its turn."""
        token = self._token()
        promised = None if makes is None else [f"{token}.{place}" for place in range(makes)]
        actor, packed = self._actor(address), pack_arguments(arguments)
        taken = [_token_at(parcel, address) for parcel in parcels]
        # The turn is taken last: a call that is not issued must not keep later ones waiting.
        turn = self._turn(address)
        ref = actor.call.remote(turn, address.service, method, packed, taken, promised, token)
        call = Call(
            address.device,
            f"{address.service}.{method}",
            ref,
            starts=method in _LOADS,
            halt=lambda: actor.halt.remote(token),
        )
        return RayReply(self._ledger.enter(call), self._ledger.wait, address, token, makes)

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """Have its device hand the frame over to the other one."""
        assert isinstance(parcel, RayParcel)
        sender, there = parcel.address.device, self._actor(receiver)
        # Devices begin calls in any order. Under a name of its own, a frame that stays on its
        # device cannot be taken by whoever it is for before it was sent.
        arrival = f"{self._token()}.0"
        ref = self._actor(parcel.address).send.remote(parcel.token, arrival, receiver.device)

        def spoil(failure: Failure) -> None:
            there.miss.remote(arrival, failure.model_dump_json())

        self._ledger.enter(
            Call(sender, "sending a frame", ref, spoil=spoil, receiver=receiver.device)
        )
        sent = RayParcel(receiver, arrival, parcel.made, parcel.task)
        self._meter.note(sender, receiver.device, sent)
        return sent

    def put(self, frame: Buffer, receiver: Address) -> Parcel:
        """Send it there."""
        token = f"{self._token()}.0"
        self._actor(receiver).accept.remote(token, bytes(frame))
        made = Made(
            receiver=receiver.device, frame_bytes=len(frame), payload_bytes=payload_bytes(frame)
        )
        return RayParcel(receiver, token, lambda: made)

    def fetch(self, parcel: Parcel) -> Buffer:
        """Bring it here."""
        assert isinstance(parcel, RayParcel)
        parcel.made()  # waits for it with all that this needs
        device, ref = parcel.address.device, self._actor(parcel.address).fetch.remote(parcel.token)
        found = self._ledger.answer(device, ref, self._patience.work_s)
        if isinstance(found, str):
            raise Failure.model_validate_json(found).error()
        frame: Buffer = found
        return frame

    def bear(
        self, devices: Collection[str]
    ) -> AbstractContextManager[Mapping[str, LostDeviceError]]:
        """Calls that a lost device of these was to do are given up, and no other."""
        return self._ledger.bear(devices)

    def heed(self, devices: Collection[str]) -> None:
        """Ask these, too, whether they are alive."""
        self._ledger.heed(devices)

    def settle(self) -> None:
        """Wait for all calls."""
        self._ledger.settle()

    def _token(self) -> str:
        return f"{self._lane}:{next(self._tokens)}"

    def _turn(self, address: Address) -> Turn:
        number = self._numbers[address]
        self._numbers[address] = number + 1
        return Turn(self._lane, number)

    def _actor(self, address: Address) -> Any:
        if address.device not in self._actors:
            raise RunError(f"no service {address.service} on {address.device}: no such device")
        return self._actors[address.device]


def _token_at(parcel: Parcel, address: Address) -> str:
    assert isinstance(parcel, RayParcel)
    if parcel.address != address:
        raise RunError(f"{address} was given a frame that lies at {parcel.address}")
    return parcel.token
