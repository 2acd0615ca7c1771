"""A device's next process waits for its run, with all that it needs imported.

Importing torch, transformers and Ray takes a process seconds of CPU time. Ray can start processes
with a node and import modules in them before anybody asks (``enable_worker_prestart``,
``preload_python_modules``); it gives such a process to the first actor that comes. It starts no
other when that one has ended: whoever ends a run asks for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

__all__ = ["WARM_PROCESSES", "ask_for_another", "warm_settings"]

WARM_PROCESSES = 1
"""That wait on a node: as many as Ray believes it to have CPUs."""

_MODULE = "gaisnet.warming"
_LIMIT_S = 2.0
_LOG = logging.getLogger(__name__)


def warm_settings() -> dict[str, str]:
    """Environment variables of a node on which a process is to wait."""
    return {"RAY_enable_worker_prestart": "1", "RAY_preload_python_modules": _MODULE}


def ask_for_another(nodes: Mapping[str, str]) -> None:
    """Have a process started on each node; one that does not answer in time is left alone.

    Args:
        nodes: ``HOST:PORT`` of each device's raylet.
    """
    if find_spec("grpc") is None:  # Ray does without, so a user may as well
        _LOG.info("no process is started for the next run: grpcio is not installed")
        return
    # Parts of Ray that have no public face; they are there once Ray has its settings.
    import grpc
    from ray._private.grpc_utils import init_grpc_channel
    from ray.core.generated import common_pb2, node_manager_pb2, node_manager_pb2_grpc

    wanted: Any = node_manager_pb2.PrestartWorkersRequest(
        language=common_pb2.Language.PYTHON, num_workers=WARM_PROCESSES
    )
    channels = {device: init_grpc_channel(place) for device, place in nodes.items()}
    asked = {
        device: node_manager_pb2_grpc.NodeManagerServiceStub(channel).PrestartWorkers.future(
            wanted, timeout=_LIMIT_S
        )
        for device, channel in channels.items()
    }
    for device, answer in asked.items():
        try:
            answer.result(timeout=_LIMIT_S)
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            _LOG.info("%s starts no process for the next run: %s", device, error)
    for channel in channels.values():
        channel.close()
