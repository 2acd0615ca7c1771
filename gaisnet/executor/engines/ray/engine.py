"""The driver's side of the engine: issues calls to the devices' processes, and carries no frame."""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import ray
import torch

from gaisnet.errors import RunError
from gaisnet.executor.blueprints import Blueprint, ModelSource
from gaisnet.executor.engines.base import Address, News, Parcel, Reply
from gaisnet.executor.engines.ray import cluster
from gaisnet.executor.engines.ray.calls import Call, RayParcel, RayReply
from gaisnet.executor.engines.ray.device import DeviceProcess
from gaisnet.executor.engines.ray.health import Health
from gaisnet.executor.engines.ray.ledger import Ledger
from gaisnet.executor.engines.ray.messages import (
    DeviceFacts,
    DeviceNews,
    Failure,
    Made,
    pack_arguments,
    pack_blueprint,
)
from gaisnet.executor.engines.ray.patience import Patience
from gaisnet.executor.engines.ray.settings import NAMESPACE, RESOURCE
from gaisnet.executor.frames import Buffer, payload_bytes
from gaisnet.executor.meter import Meter
from gaisnet.models import FoundationModel
from gaisnet.schema.watch import DeviceState, LogLevel

__all__ = ["RayEngine"]

_CONCURRENT_CALLS = 10_000
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


class RayEngine:
    """Runs a process on each device, an actor that is pinned to it by its custom resource.

    Args:
        devices: Those of the plan.
        address: Of the cluster's head; without it a cluster is started on this machine alone.
        patience: Bounds of all waits.
        threads: CPU threads of each device; by default as many as torch uses here.
        log_level: Of the devices' logs.

    Raises:
        RunError: Ray does not start, or the cluster cannot be reached.
        MismatchError: A device has not joined the cluster.
    """

    name = "ray"

    def __init__(
        self,
        devices: Iterable[str],
        *,
        address: str | None = None,
        patience: Patience | None = None,
        threads: int | None = None,
        log_level: LogLevel = "info",
    ) -> None:
        self._patience = patience or Patience()
        self._threads = threads or torch.get_num_threads()
        self._log_level = log_level
        self._health = Health(self._patience)
        self._ledger = Ledger(self._health)
        self._meter = _SentMeter(self.settle)
        self._actors: dict[str, Any] = {}
        self._introduced: set[tuple[str, str]] = set()
        self._numbers: defaultdict[Address, int] = defaultdict(int)
        self._tokens = itertools.count()
        known = sorted(set(devices))
        if address is None:
            cluster.start_here(known)
        else:
            cluster.connect(address, known)
        self._start(known)

    @property
    def meter(self) -> Meter:
        """Counts what ``send`` carries over links; ``take`` waits until all is done."""
        return self._meter

    def lend(self, source: ModelSource, model: FoundationModel) -> None:
        """Devices have their own."""

    def place(self, address: Address, blueprint: Blueprint) -> None:
        """Have the service built; what fails there is raised at a later wait."""
        if address.device in self._health.lost:
            self._start([address.device])
        actor, number = self._actor(address), self._next(address)
        ref = actor.place.remote(number, address.service, pack_blueprint(blueprint))
        self._ledger.enter(Call(address.device, f"placing {address.service}", ref, starts=True))

    def call(
        self,
        address: Address,
        method: str,
        *arguments: Any,
        parcels: Sequence[Parcel] = (),
        makes: int | None = None,
    ) -> Reply:
        """Have the service called, in its turn."""
        token = f"{next(self._tokens)}"
        promised = None if makes is None else [f"{token}.{place}" for place in range(makes)]
        actor, packed = self._actor(address), pack_arguments(arguments)
        taken = [self._token_at(parcel, address) for parcel in parcels]
        # The turn is taken last: a call that is not issued must not keep later ones waiting.
        turn = self._next(address)
        ref = actor.call.remote(turn, address.service, method, packed, taken, promised, token)
        doing = f"{address.service}.{method}"
        call = self._ledger.enter(Call(address.device, doing, ref, starts=method in _LOADS))
        return RayReply(call, self._ledger.wait, address, token, makes)

    def send(self, parcel: Parcel, receiver: Address) -> Parcel:
        """Have its device hand the frame over to the other one."""
        assert isinstance(parcel, RayParcel)
        sender, there = parcel.address.device, self._actor(receiver)
        pair = sender, receiver.device
        peer = None if pair in self._introduced or sender == receiver.device else there
        self._introduced.add(pair)
        # Devices begin calls in any order. Under a name of its own, a frame that stays on its
        # device cannot be taken by whoever it is for before it was sent.
        arrival = f"{next(self._tokens)}.0"
        ref = self._actor(parcel.address).send.remote(parcel.token, arrival, receiver.device, peer)

        def spoil(failure: Failure) -> None:
            there.accept.remote(arrival, receiver.device, None, failure.model_dump_json())

        self._ledger.enter(Call(sender, "sending a frame", ref, spoil=spoil))
        sent = RayParcel(receiver, arrival, parcel.made, parcel.task)
        self._meter.note(sender, receiver.device, sent)
        return sent

    def put(self, frame: Buffer, receiver: Address) -> Parcel:
        """Send it there."""
        token, content = f"{next(self._tokens)}.0", np.frombuffer(frame, dtype=np.uint8)
        self._actor(receiver).accept.remote(token, receiver.device, content)
        made = Made(
            receiver=receiver.device, frame_bytes=len(frame), payload_bytes=payload_bytes(frame)
        )
        return RayParcel(receiver, token, lambda: made)

    def fetch(self, parcel: Parcel) -> Buffer:
        """Bring it here."""
        assert isinstance(parcel, RayParcel)
        parcel.made()  # waits for it with all that this needs
        found = ray.get(
            self._actor(parcel.address).fetch.remote(parcel.token), timeout=self._patience.work_s
        )
        if isinstance(found, str):
            raise Failure.model_validate_json(found).error()
        content: Buffer = found.data
        return content

    def settle(self) -> None:
        """Wait for all calls."""
        self._ledger.settle()

    def processes(self) -> dict[str, int]:
        """Ids of the devices' processes, on their machines."""
        asked = {device: actor.hello.remote() for device, actor in self._actors.items()}
        return {d: int(ray.get(ref, timeout=self._patience.silence_s)) for d, ref in asked.items()}

    def facts(self, device: str) -> DeviceFacts:
        """What a device's process says of itself."""
        told = ray.get(self._actors[device].facts.remote(), timeout=self._patience.start_s)
        return DeviceFacts.model_validate_json(told)

    def time_link(self, sender: str, receiver: str, frame_bytes: int, *, times: int) -> list[float]:
        """Seconds that messages of so many bytes take from one device to another."""
        ref = self._actors[sender].time_link.remote(self._actors[receiver], frame_bytes, times)
        found: list[float] = ray.get(ref, timeout=self._patience.start_s)
        return found

    def watch(self) -> frozenset[str]:
        """Ask all devices."""
        return self._health.survey()

    def states(self) -> Mapping[str, DeviceState]:
        """What was heard of all devices."""
        return self._health.states(self._ledger.done)

    def news(self) -> Mapping[str, News]:
        """Ask all devices that are not lost."""
        left = {d: actor for d, actor in self._actors.items() if d not in self._health.lost}
        asked = {device: actor.news.remote() for device, actor in sorted(left.items())}
        if asked:
            limit_s = self._patience.silence_s
            ray.wait(list(asked.values()), num_returns=len(asked), timeout=limit_s)
        found = {}
        for device, ref in asked.items():
            with suppress(ray.exceptions.RayError):  # a lost device is found elsewhere
                told = DeviceNews.model_validate_json(ray.get(ref, timeout=0))
                found[device] = News(told.lines, told.leaving)
        return found

    def close(self) -> None:
        """End all processes of the devices, and the cluster if it was started here."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()
        cluster.disconnect()

    def _start(self, devices: Sequence[str]) -> None:
        started = {}
        for device in devices:
            if device in self._actors:
                ray.kill(self._actors[device])
            started[device] = self._new_actor(device)
        for device, actor in started.items():
            self._await_start(device, actor)
            self._actors[device] = actor
            self._health.add(device, actor)
            self._introduced = {pair for pair in self._introduced if device not in pair}
            self._numbers = defaultdict(
                int, {a: n for a, n in self._numbers.items() if a.device != device}
            )

    def _new_actor(self, device: str) -> Any:
        options = {
            "resources": {RESOURCE + device: 1.0},
            "num_cpus": 0,
            "max_concurrency": _CONCURRENT_CALLS,
            # Unique: the name of a process that has ended is free only a while later.
            "name": f"{RESOURCE}{device}:{uuid.uuid4().hex}",
            "namespace": NAMESPACE,
        }
        remote: Any = ray.remote(DeviceProcess)
        given = device, self._threads, self._patience.frame_s, self._log_level
        return remote.options(**options).remote(*given)

    def _await_start(self, device: str, actor: Any) -> None:
        try:
            ray.get(actor.hello.remote(), timeout=self._patience.start_s)
        except ray.exceptions.RayError as error:
            self.close()
            raise RunError(
                f"the process of {device} has not started: {error}",
                where=device,
                hint="see whether another run uses the device, and whether it has memory left",
            ) from error

    def _actor(self, address: Address) -> Any:
        if address.device not in self._actors:
            raise RunError(f"no service {address.service} on {address.device}: no such device")
        return self._actors[address.device]

    def _next(self, address: Address) -> int:
        number = self._numbers[address]
        self._numbers[address] = number + 1
        return number

    def _token_at(self, parcel: Parcel, address: Address) -> str:
        assert isinstance(parcel, RayParcel)
        if parcel.address != address:
            raise RunError(f"{address} was given a frame that lies at {parcel.address}")
        return parcel.token
