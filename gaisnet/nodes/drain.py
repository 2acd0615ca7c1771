"""Lets a device leave a cluster in order: ``gaisnet drain``.

The device's process, if a run has one there, tells the run that it wants to leave; the run closes
its round and lets it go. Only then its node ends.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from gaisnet.errors import MismatchError, RunError, UsageError
from gaisnet.nodes import cluster
from gaisnet.nodes.node import DEVICE_LABEL, JOIN_VARIABLE
from gaisnet.nodes.settings import NAMESPACE, RESOURCE

__all__ = ["drain"]

_HEAD = "node:__internal_head__"
_LOOK_EVERY_S = 0.25
_ANSWER_S = 30.0
_END_S = 60.0


def drain(address: str, device: str, deadline_s: float) -> bool:
    """Let a device leave.

    Args:
        address: Of the cluster's head.
        device: Id of the device.
        deadline_s: How long a run has to let it go.

    Returns:
        Whether a run was using it.

    Raises:
        MismatchError: It has not joined the cluster.
        UsageError: The cluster began on it.
        RunError: The cluster cannot be reached, or the run does not let it go in time.
    """
    cluster.connect(address, ())
    try:
        node = _node_of(device, address)
        asked = _ask(device)
        if asked:
            _await_release(device, deadline_s)
        _end(node, device)
        return asked
    finally:
        cluster.disconnect()


def _node_of(device: str, address: str) -> str:
    """The id of a device's node."""
    for node in ray.nodes():
        if node["Alive"] and node["Labels"].get(DEVICE_LABEL) == device:
            if _HEAD in node["Resources"]:
                raise UsageError(
                    f"the cluster began on {device} and ends with it",
                    where=address,
                    hint="let the others leave first; then end its `gaisnet join` with Ctrl-C",
                )
            return str(node["NodeID"])
    raise MismatchError(f"{device} has not joined the cluster", where=address)


def _processes(device: str) -> list[Any]:
    """Handles of a device's processes: one at most, but for the moment of a change."""
    named = [entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True)]
    found = []
    for name in named:
        if name.startswith(f"{RESOURCE}{device}:"):
            try:
                found.append(ray.get_actor(name, namespace=NAMESPACE))
            except ValueError:  # it has ended meanwhile
                continue
    return found


def _ask(device: str) -> bool:
    asked = [process.leave.remote() for process in _processes(device)]
    try:
        ray.get(asked, timeout=_ANSWER_S)
    except RayError as error:
        raise RunError(f"{device} cannot be asked to leave: {error}", where=device) from error
    return bool(asked)


def _await_release(device: str, deadline_s: float) -> None:
    late = RunError(
        f"the run has not let {device} go within {deadline_s:.3g} s",
        where=device,
        hint="it will when its round is closed; ask again, with a longer --deadline",
    )
    _await(lambda: not _processes(device), deadline_s, late)


def _await(is_so: Callable[[], bool], limit_s: float, late: RunError) -> None:
    """Return when something is so; raises ``late`` if it is not in time."""
    until = time.monotonic() + limit_s
    while not is_so():
        if time.monotonic() > until:
            raise late
        time.sleep(_LOOK_EVERY_S)


def _end(node: str, device: str) -> None:
    """End a node from within, as Ctrl-C does, and wait until the cluster knows."""
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    remote: Any = ray.remote(_end_join)
    ref = remote.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()
    ray.wait([ref], timeout=_ANSWER_S)  # the node may end before it answers
    late = RunError(
        f"the node of {device} has not ended",
        where=device,
        hint="end its `gaisnet join` with Ctrl-C",
    )
    _await(lambda: not _is_alive(node), _END_S, late)


def _is_alive(node: str) -> bool:
    return any(found["NodeID"] == node and found["Alive"] for found in ray.nodes())


def _end_join() -> None:
    """Runs on the device: ends the ``gaisnet join`` that its node belongs to."""
    os.kill(int(os.environ[JOIN_VARIABLE]), signal.SIGTERM)
