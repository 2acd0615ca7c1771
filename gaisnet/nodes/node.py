"""A device's node of a Ray cluster: what ``gaisnet join`` starts, and ends again."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from gaisnet.errors import InputError, RunError
from gaisnet.nodes.address import check_host, head_address
from gaisnet.nodes.processes import end_all, rays_below
from gaisnet.nodes.settings import COMPUTE_VARIABLE, FOLDER_VARIABLE, RESOURCE, settings
from gaisnet.nodes.warm import WARM_PROCESSES, warm_settings
from gaisnet.schema.base import ComputeWish
from gaisnet.schema.files import read_model, sha256_file
from gaisnet.schema.profile import Profile
from gaisnet.security import knock

__all__ = [
    "DEVICE_LABEL",
    "JOIN_VARIABLE",
    "PROFILE_LABEL",
    "Node",
    "NodeSpec",
    "profile_label",
]

DEVICE_LABEL, PROFILE_LABEL = "gaisnet-device", "gaisnet-profile"
JOIN_VARIABLE = "GAISNET_JOIN"
"""Environment variable of a node's processes: the id of the ``gaisnet join`` that ends them."""
_LABEL_CHARACTERS = 60
_LEAST_OBJECT_STORE_BYTES = 80 * 2**20
_OBJECT_STORE_SHARE = 0.2
_END_S = 10.0
"""For a process that has been killed."""
_START_S, _LOOK_S = 180.0, 1.0
_STARTED = b"Ray runtime started"


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """A device that is to join a cluster, or to begin one."""

    device: str
    profile: Path
    """What ``gaisnet profile`` wrote on it."""
    head: bool
    """Whether the cluster begins here."""
    address: str
    """``HOST:PORT`` of the cluster's head."""
    host: str | None = None
    """Address under which the others reach this device; by default Ray finds one."""
    folder: Path | None = None
    """Where relative paths of the job's model and data are looked up."""
    memory_bytes: int | None = None
    """Limit; by default the profile's."""
    inline: bool = False
    """For links with latency: frames travel within calls."""
    compute: ComputeWish = "auto"
    """What the device computes on; ``auto``: what whoever runs a plan wants."""
    credentials: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """The command line that starts the node, in the foreground.

        Raises:
            UsageError: An address is none, or none that Ray takes as it is.
            InputError: The profile is not one, or says nothing of a device.
        """
        host, port = head_address(self.address)
        if self.host is not None:
            check_host(self.host)
        memory_bytes = self.memory_bytes or _memory_of(self.profile)
        store_bytes = max(int(memory_bytes * _OBJECT_STORE_SHARE), _LEAST_OBJECT_STORE_BYTES)
        labels = {DEVICE_LABEL: self.device, PROFILE_LABEL: profile_label(self.profile)}
        options = {
            "resources": json.dumps({RESOURCE + self.device: 1}),
            "labels": ",".join(f"{name}={value}" for name, value in labels.items()),
            "num-cpus": str(WARM_PROCESSES),
            "memory": str(memory_bytes),
            "object-store-memory": str(store_bytes),
        }
        if self.head:
            options |= {"port": str(port), "include-dashboard": "false", "node-ip-address": host}
        else:
            options["address"] = self.address
        if self.host is not None:
            options["node-ip-address"] = self.host
        words = [f"--{name}={value}" for name, value in options.items()]
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        # The monitor is for clusters that grow by themselves, and answers whoever asks.
        head = ["--head", "--no-monitor"] if self.head else []
        return [*start, *head, "--disable-usage-stats", *words]

    def environment(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """Variables of the node's processes; what the user has set stays."""
        own = settings(inline=self.inline) | warm_settings()
        own[JOIN_VARIABLE] = str(os.getpid())
        if self.folder is not None:
            own[FOLDER_VARIABLE] = str(self.folder.resolve())
        if self.compute != "auto":
            own[COMPUTE_VARIABLE] = self.compute
        return own | dict(inherited) | dict(self.credentials)


class Node:
    """A node that runs until it is stopped.

    Args:
        spec: What is to run.
        inherited: Environment of this process.
    """

    def __init__(self, spec: NodeSpec, inherited: Mapping[str, str]) -> None:
        self._spec = spec
        self._environment = spec.environment(inherited)
        self._process = subprocess.Popen(
            spec.command(),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # Ctrl-C is for us: we end the node in order.
            start_new_session=True,
        )

    def await_start(self) -> bool:
        """Whether the node takes part in the cluster, as soon as that is known; if it has ended
        by itself, ``wait`` says why.

        Raises:
            RunError: It has not started in time.
            SecurityError: It is the head, and its certificate is not for its address: Ray itself
                would try on and on.
        """
        assert self._process.stdout is not None
        until, told = time.monotonic() + _START_S, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while _STARTED not in told:
                if selector.select(_LOOK_S):
                    found = os.read(self._process.stdout.fileno(), 2**16)
                    if not found:
                        return False
                    told += found
                else:
                    self._look(until)
        return True

    def _look(self, until: float) -> None:
        """While nothing is said; raises as ``await_start``."""
        if time.monotonic() > until:
            raise RunError(
                f"the node of {self._spec.device} has not started within {_START_S:.0f} s",
                where=self._spec.address,
                hint="see whether the addresses are this machine's and the head's",
            )
        if self._spec.head:
            with suppress(RunError):  # nobody answers so far
                knock(*head_address(self._spec.address), self._environment)

    def wait(self) -> None:
        """Return when the node has ended.

        Raises:
            RunError: It has ended by itself.
        """
        _, told = self._process.communicate()
        if self._process.returncode not in (0, -signal.SIGTERM):
            last = told.strip().splitlines()[-1:] or ["Ray says nothing"]
            raise RunError(
                f"the node of {self._spec.device} has ended: {last[0]}",
                where=self._spec.address,
                hint="see whether the head is there, and whether it takes these credentials",
            )

    def stop(self) -> None:
        """End the node, with every process of it."""
        if self._process.poll() is not None:
            return
        processes = rays_below(psutil.Process(self._process.pid))
        self._process.terminate()
        end_all([psutil.Process(self._process.pid), *processes])
        self._process.wait(_END_S)


def profile_label(profile: Path) -> str:
    """What a node says of its device's profile: the beginning of its hash."""
    return sha256_file(profile)[:_LABEL_CHARACTERS]


def _memory_of(profile: Path) -> int:
    device: Any = read_model(profile, Profile).device
    if device is None:
        raise InputError(
            "the profile says nothing of a device",
            where=str(profile),
            hint="make it on the device, with `gaisnet profile --device-only -o FILE`",
        )
    return int(device.memory_bytes)
