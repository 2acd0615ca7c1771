"""A cluster of this machine alone, or one that is there already; and its end."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterable
from typing import Any

import psutil
import ray
from ray._private import worker

from gaisnet.errors import MismatchError, RunError
from gaisnet.nodes.address import head_address
from gaisnet.nodes.processes import end_all, end_at_once, rays_below
from gaisnet.nodes.rereading import check_unused
from gaisnet.nodes.settings import RESOURCE
from gaisnet.nodes.warm import ask_for_another
from gaisnet.security import knock

__all__ = ["connect", "disconnect", "joined", "prepare_for_next", "start_here", "taken"]

_LOG = logging.getLogger(__name__)
_OBJECT_STORE_BYTES = 512 * 2**20
_LOOK_EVERY_S = 0.2


def _leave_stdout_alone() -> None:
    """Ray tells of its processes on standard output, which belongs to the command's answer."""

    def told(data: dict[str, Any], **_: object) -> None:
        _LOG.warning("Ray: %s", " ".join(map(str, data.get("lines", ()))))

    worker.print_to_stdstream = told


def start_here(devices: Iterable[str]) -> None:
    """Start a cluster of one node, on loopback, that stands for all devices.

    Raises:
        RunError: It does not start, or this process uses Ray already.
    """
    check_unused()
    _leave_stdout_alone()
    try:
        ray.init(
            address="local",
            num_cpus=os.cpu_count(),
            resources={RESOURCE + device: 1.0 for device in devices},
            object_store_memory=_OBJECT_STORE_BYTES,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
        )
    except BaseException as error:  # Ctrl-C among them: what has started is to end
        end_at_once(psutil.Process())
        disconnect()
        if not isinstance(error, Exception):
            raise
        raise RunError(f"Ray does not start here: {error}") from error


def joined(address: str) -> dict[str, dict[str, str]]:
    """The devices that have joined a cluster, each with its node's labels.

    Raises:
        RunError: It cannot be reached.
        SecurityError: It does not take what this device shows.
    """
    connect(address, ())
    try:
        return {
            name.removeprefix(RESOURCE): dict(node["Labels"])
            for node in ray.nodes()
            if node["Alive"]
            for name in node["Resources"]
            if name.startswith(RESOURCE)
        }
    finally:
        disconnect()


def connect(address: str, devices: Iterable[str]) -> frozenset[str]:
    """Join the cluster that is there, as its driver; returns all devices that have joined it.

    Raises:
        UsageError: The address is none.
        RunError: It cannot be reached, or this process uses Ray already.
        SecurityError: It does not take what this device shows.
        MismatchError: A device has not joined it.
    """
    host = head_address(address)
    check_unused()
    knock(*host, os.environ)
    _leave_stdout_alone()
    try:
        ray.init(address=address, configure_logging=False, log_to_driver=False)
    except Exception as error:
        raise RunError(
            f"the cluster at {address} cannot be reached: {error}",
            hint="`gaisnet join` this machine to it first",
        ) from error
    joined: dict[str, float] = ray.cluster_resources()
    missing = sorted(device for device in devices if RESOURCE + device not in joined)
    if missing:
        disconnect()
        raise MismatchError(
            f"{', '.join(missing)} of the plan did not join the cluster",
            where=address,
            hint="start `gaisnet join` on each of them",
        )
    names = (name for name in joined if name.startswith(RESOURCE))
    return frozenset(name.removeprefix(RESOURCE) for name in names)


def taken(devices: Collection[str], limit_s: float) -> frozenset[str]:
    """Devices that another run has.

    Args:
        devices: That are asked for; they have joined the cluster.
        limit_s: A run that has just ended has so long to let go of them.
    """
    until = time.monotonic() + limit_s
    while True:
        free: dict[str, float] = ray.available_resources()
        held = frozenset(device for device in devices if free.get(RESOURCE + device, 0.0) < 1.0)
        if not held or time.monotonic() > until:
            return held
        time.sleep(_LOOK_EVERY_S)


def prepare_for_next(devices: Collection[str]) -> None:
    """Have a process started on each of these devices' nodes that waits for the next run."""
    names = {RESOURCE + device: device for device in devices}
    ask_for_another(
        {
            names[name]: f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
            for node in (ray.nodes() if names else ())
            if node["Alive"]
            for name in node["Resources"]
            if name in names
        }
    )


def disconnect() -> None:
    """Leave the cluster; one that was started here ends, with every process of it."""
    ours = rays_below(psutil.Process())
    ray.shutdown()
    end_all(ours)
