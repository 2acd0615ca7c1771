"""The driver's side of the engine: issues calls to the devices' processes, and carries no frame."""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError

from gaisnet.errors import MismatchError, RunError
from gaisnet.executor.blueprints import Blueprint, ModelSource
from gaisnet.executor.engines.base import Address, Engine, News, Outcome
from gaisnet.executor.engines.ray.calls import Call
from gaisnet.executor.engines.ray.device import DeviceProcess
from gaisnet.executor.engines.ray.health import Health
from gaisnet.executor.engines.ray.issuer import Issuer
from gaisnet.executor.engines.ray.ledger import Ledger
from gaisnet.executor.engines.ray.messages import (
    VERSIONS,
    DeviceFacts,
    DeviceNews,
    Hello,
    pack_blueprint,
)
from gaisnet.executor.engines.ray.patience import Patience
from gaisnet.models import FoundationModel
from gaisnet.nodes import cluster
from gaisnet.nodes.settings import NAMESPACE, RESOURCE
from gaisnet.schema.watch import DeviceState, LogLevel

__all__ = ["TAKEN", "RayEngine"]

DRIVER = "driver"
"""Lane of the driver's calls."""
TAKEN = "another run has it"
"""Why a device does not start; others need to be seen to."""

_CONCURRENT_CALLS = 10_000
_LET_GO_S, _LOOKED_AT_S = 60.0, 10.0
"""A run that was there before has so long to let go of its devices; less if one only looks."""


class RayEngine(Issuer):
    """Runs a process on each device, an actor that is pinned to it by its custom resource.

    Args:
        devices: Those of the plan.
        spares: Those that may have to take over; their processes start when they do.
        address: Of the cluster's head; without it a cluster is started on this machine alone.
        patience: Bounds of all waits.
        threads: CPU threads of each device; by default as many as torch uses here.
        log_level: Of the devices' logs.
        process: What runs on every device.
        leave_out: Devices that cannot take part are left out, where the engine would otherwise
            not start: another run has them, they run another gaisnet, or do not start.

    Raises:
        RunError: Ray or a device does not start, the cluster cannot be reached, or another run has
            a device.
        MismatchError: A device has not joined the cluster, or runs another gaisnet.
    """

    def __init__(
        self,
        devices: Iterable[str],
        spares: Iterable[str] = (),
        *,
        address: str | None = None,
        patience: Patience | None = None,
        threads: int | None = None,
        log_level: LogLevel = "info",
        process: type[DeviceProcess] = DeviceProcess,
        leave_out: bool = False,
    ) -> None:
        patience = patience or Patience()
        self._process = process
        self._leave_out = leave_out
        self._hellos: dict[str, Hello] = {}
        self._not_started: dict[str, str] = {}
        self._threads = threads or torch.get_num_threads()
        self._log_level = log_level
        self._health = Health(patience)
        self._handles: dict[str, Any] = {}
        self._starts: Counter[str] = Counter()
        ledger = Ledger(self._health, told=self._forget, everyone=True)
        super().__init__(DRIVER, self._handles, patience, ledger)
        self._own_cluster = address is None
        known = sorted(set(devices))
        if address is None:
            self._joined = frozenset([*known, *spares])
            cluster.start_here(sorted(self._joined))
        else:
            self._joined = cluster.connect(address, known)
        try:
            self._start(known if self._own_cluster else self._free(known))
        except BaseException:  # Ctrl-C among them: nobody has the engine, so nobody would close it
            self.close()
            raise

    def lend(self, source: ModelSource, model: FoundationModel) -> None:
        """Devices have their own."""

    def place(self, address: Address, blueprint: Blueprint) -> None:
        """Have the service built; what fails there is raised at a later wait."""
        device = address.device
        if device in self._health.lost or device in self._joined - self._handles.keys():
            self._start([device])
        actor, turn = self._actor(address), self._turn(address)
        ref = actor.place.remote(turn, address.service, pack_blueprint(blueprint))
        self._ledger.enter(Call(address.device, f"placing {address.service}", ref, starts=True))

    def together(self, tasks: Sequence[Callable[[Engine], Outcome]]) -> list[Outcome]:
        """One after the other; what is issued in them is done at the same time all the same."""
        return [task(self) for task in tasks]

    @property
    def handles(self) -> Mapping[str, Any]:
        """Of the devices' processes, for those that call them without the driver."""
        return dict(self._handles)

    @property
    def health(self) -> Health:
        """Knows which devices are lost, and how long they have to answer."""
        return self._health

    def processes(self) -> dict[str, int]:
        """Ids of the devices' processes, on their machines."""
        return {device: self._hellos[device].process for device in self._handles}

    @property
    def versions(self) -> Mapping[str, Mapping[str, str]]:
        """What devices' processes run, by package, also those that are left out."""
        return {device: hello.versions for device, hello in self._hellos.items()}

    @property
    def not_started(self) -> Mapping[str, str]:
        """Devices that are left out without a process, and why."""
        return self._not_started

    def differences(self) -> Mapping[str, str]:
        """As the devices said when their processes began."""
        found = {device: hello.differences() for device, hello in sorted(self._hellos.items())}
        return {device: told for device, told in found.items() if told}

    def facts(self, device: str) -> DeviceFacts:
        """What a device's process says of itself."""
        ref = self._handles[device].facts.remote()
        told = self._ledger.answer(device, ref, self._patience.start_s)
        return DeviceFacts.model_validate_json(told)

    def time_link(self, sender: str, receiver: str, frame_bytes: int, *, times: int) -> list[float]:
        """Seconds that messages of so many bytes take from one device to another."""
        ref = self._handles[sender].time_link.remote(self._handles[receiver], frame_bytes, times)
        found: list[float] = self._ledger.answer(sender, ref, self._patience.start_s)
        return found

    def watch(self) -> frozenset[str]:
        """Ask all devices."""
        return self._health.survey()

    def release(self, device: str) -> None:
        """End its process."""
        self._health.lose(device, "it has left")
        ray.kill(self._handles[device])

    def states(self) -> Mapping[str, DeviceState]:
        """What was heard of all devices."""
        return self._health.states()

    def news(self) -> Mapping[str, News]:
        """Ask all devices that are not lost."""
        left = {d: actor for d, actor in self._handles.items() if d not in self._health.lost}
        asked = {device: actor.news.remote() for device, actor in sorted(left.items())}
        if asked:
            limit_s = self._patience.silence_s
            ray.wait(list(asked.values()), num_returns=len(asked), timeout=limit_s)
        found = {}
        for device, ref in asked.items():
            with suppress(RayError):  # a lost device is found elsewhere
                told = DeviceNews.model_validate_json(ray.get(ref, timeout=0))
                found[device] = News(told.lines, told.leaving)
        return found

    def reach(self, devices: Collection[str]) -> frozenset[str]:
        """Those that have joined and are not lost."""
        return self._joined.intersection(devices) - self._health.lost.keys()

    def close(self) -> None:
        """End all processes of the devices, and the cluster if it was started here; on another
        one, a process is to wait on each device for the next run."""
        try:
            for actor in self._handles.values():
                ray.kill(actor)
            if not self._own_cluster:
                cluster.prepare_for_next(self._hellos.keys() - self._health.lost.keys())
        finally:
            self._handles.clear()
            cluster.disconnect()

    def _free(self, devices: Sequence[str]) -> list[str]:
        """Those that no other run has."""
        held = cluster.taken(devices, _LOOKED_AT_S if self._leave_out else _LET_GO_S)
        if held and not self._leave_out:
            raise RunError(
                f"another run has {', '.join(sorted(held))}",
                hint="wait until it is done, or end it",
            )
        self._not_started |= dict.fromkeys(held, TAKEN)
        return [device for device in devices if device not in held]

    def _start(self, devices: Sequence[str]) -> None:
        started = {}
        for device in devices:
            if device in self._handles:
                ray.kill(self._handles[device])
            started[device] = self._new_actor(device)
        for device, actor in started.items():
            if not self._takes_part(device, actor):
                ray.kill(actor)
                continue
            self._handles[device] = actor
            self._health.add(device, actor)
            self._numbers = defaultdict(
                int, {a: n for a, n in self._numbers.items() if a.device != device}
            )
        self._introduce()

    def _new_actor(self, device: str) -> Any:
        options = {
            "resources": {RESOURCE + device: 1.0},
            "num_cpus": 0,
            "max_concurrency": _CONCURRENT_CALLS,
            # Unique: the name of a process that has ended is free only a while later.
            "name": f"{RESOURCE}{device}:{uuid.uuid4().hex}",
            "namespace": NAMESPACE,
        }
        remote: Any = ray.remote(self._process)
        self._starts[device] += 1
        known = device, self._issuer(device), self._threads, self._patience, self._log_level
        return remote.options(**options).remote(*known)

    def _issuer(self, device: str) -> str:
        """Name of a device's process among those that issue calls: one that was started again
        is another one."""
        return f"{device}#{self._starts[device]}"

    def _introduce(self) -> None:
        """Tell every device how to reach the others."""
        left = {d: actor for d, actor in self._handles.items() if d not in self._health.lost}
        told = {device: actor.meet.remote(dict(self._handles)) for device, actor in left.items()}
        for device, ref in told.items():
            self._ledger.answer(device, ref, self._patience.start_s)

    def _forget(self, device: str) -> None:
        """What a lost device had asked of others is in vain, and what it asks now is too late; and
        nobody is to count on it."""
        lost, issuer = self._health.lost, self._issuer(device)
        left = [actor for d, actor in self._handles.items() if d not in lost]
        told = [actor.forget.remote(issuer) for actor in left]
        told += [actor.lose.remote(device, lost[device]) for actor in left]
        if told:
            ray.wait(told, num_returns=len(told), timeout=self._patience.silence_s)

    def _takes_part(self, device: str, actor: Any) -> bool:
        """Whether it has started, with the same gaisnet; raises what else there is to say, unless
        such a device is left out."""
        try:
            asked = actor.hello.remote()
            hello = Hello.read(ray.get(asked, timeout=self._patience.start_s))
        except RayError as error:
            why = _why_not_started(error, self._patience.start_s)
            if self._leave_out:
                self._not_started[device] = why
                return False
            raise RunError(
                f"its process does not start: {why}",
                where=device,
                hint="see to what that says, and whether it has memory left",
            ) from error
        self._hellos[device] = hello
        there, here = hello.gaisnet, VERSIONS["gaisnet"]
        if there != here and not self._leave_out:
            raise MismatchError(
                f"it runs gaisnet {there}, and this is {here}",
                where=device,
                hint=f"install gaisnet {here} there",
            )
        return there == here


def _why_not_started(error: RayError, limit_s: float) -> str:
    """The last line of Ray's pages says it."""
    if isinstance(error, GetTimeoutError):
        return f"it has not answered for {limit_s:.3g} s"
    return str(error).strip().rpartition("\n")[2].strip() or type(error).__name__
