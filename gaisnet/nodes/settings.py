"""Ray's settings, which every node and the driver share; nothing here imports Ray by itself."""

from __future__ import annotations

import os
import secrets
import sys
from importlib.util import find_spec

from gaisnet.errors import UsageError

__all__ = [
    "COMPUTE_VARIABLE",
    "FOLDER_VARIABLE",
    "NAMESPACE",
    "RESOURCE",
    "prepare",
    "settings",
]

RESOURCE = "gaisnet:"
"""With a device's id: the resource that only its node has."""

NAMESPACE = "gaisnet"
"""Of the names under which devices' processes are found."""

FOLDER_VARIABLE = "GAISNET_FOLDER"
"""Environment variable with the folder in which a device finds what is named by relative paths."""

COMPUTE_VARIABLE = "GAISNET_COMPUTE"
"""Environment variable with what a device computes on, ``cpu`` or ``cuda``, whatever is planned."""

_SMALL_BYTES = 512 * 1024
"""Frames up to this travel within calls even on one machine: what they cost grows faster with their
size than in an object store, but begins at less. The two meet at some 650 kB; Ray's own choice is
100 KiB."""
_INLINE_BYTES, _INLINE_ALL_BYTES = 64_000_000, 256_000_000


def settings(*, inline: bool = False) -> dict[str, str]:
    """Environment variables that Ray reads.

    Args:
        inline: All frames travel within calls instead of through the nodes' object stores, not
            only small ones: faster over links with latency, slower within a machine.
    """
    found = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # Workers would run at a niceness of 15.
        "RAY_worker_niceness": "0",
        # A small board that is busy starting a node takes more than half a minute.
        "RAY_raylet_start_wait_time_s": "180",
        # A link that is cut silently is found after 65 s otherwise.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_health_check_failure_threshold": "3",
        # Devices choose their accelerators themselves.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_max_direct_call_object_size": str(_INLINE_BYTES if inline else _SMALL_BYTES),
    }
    if inline:
        found["RAY_task_rpc_inlined_bytes_limit"] = str(_INLINE_ALL_BYTES)
    return found


def prepare(*, private: bool, inline: bool = False) -> None:
    """Set what the user has not set, as Ray is to have it from now on.

    Best before Ray is imported, which reads its settings then; later, it has to read them again.

    Args:
        private: The cluster is this process's own. Others on this machine can reach its ports,
            so it gets a token that nobody else has.
        inline: See ``settings``.

    Raises:
        UsageError: Ray is not installed.
        RunError: This process uses Ray already.
    """
    if find_spec("ray") is None:
        raise UsageError(
            "the engine ray needs Ray", hint="install it with `pip install 'gaisnet[ray]'`"
        )
    imported = "ray" in sys.modules
    if imported:
        from gaisnet.nodes.rereading import check_unused, read_again

        check_unused()
    wanted = settings(inline=inline)
    if private:
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Ray listens on loopback alone if it believes that there can be no other machine.
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    if imported:
        read_again()
