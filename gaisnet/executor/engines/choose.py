"""Engines by name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gaisnet.errors import UsageError
from gaisnet.executor.engines.base import Engine
from gaisnet.executor.engines.local import LocalEngine
from gaisnet.schema.watch import LogLevel
from gaisnet.security import credentials_from

__all__ = ["EngineOptions", "make_engine"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """What the engine ray can be told; the local one has little to choose."""

    address: str | None = None
    """Of the cluster's head; without it all devices' processes run on this machine."""
    patience: float = 1.0
    """Factor of all times after which a device that does not answer, or takes far longer than
    planned, is lost."""
    credentials: Path | None = None
    """Folder with this device's credentials, for an address."""
    insecure: bool = False
    """Whether to go to an address without any."""
    log_level: LogLevel = "info"
    """Of the devices' logs; this one is for the local engine, too."""


def make_engine(
    name: str,
    devices: Iterable[str] = (),
    options: EngineOptions | None = None,
    *,
    step_s: float = 0.0,
    spares: Iterable[str] = (),
) -> Engine:
    """A new engine.

    Args:
        name: ``local`` or ``ray``.
        devices: Those that services will be placed on.
        options: Of the engine ray.
        step_s: Planned seconds of a local step; what takes far longer is lost.
        spares: Devices that may have to take over.

    Raises:
        UsageError: There is no engine of that name, or its package is not installed.
        SecurityError: An address is given, but neither credentials nor the wish for none.
        RunError: It does not start.
        MismatchError: A device is not there.
    """
    options = options or EngineOptions()
    if name == "local":
        _refuse_cluster_options(options)
        return LocalEngine(log_level=options.log_level)
    if name == "ray":
        return _ray_engine(devices, spares, options, step_s)
    raise UsageError(f"there is no engine {name!r}", hint="use --engine local or --engine ray")


def _refuse_cluster_options(options: EngineOptions) -> None:
    """Raises UsageError: whoever gives these believes that other devices take part."""
    given = {
        "address": options.address is not None,
        "credentials": options.credentials is not None,
        "need of --insecure": options.insecure,
    }
    for what, is_given in given.items():
        if is_given:
            raise UsageError(f"the local engine has no {what}", hint="use --engine ray")


def _ray_engine(
    devices: Iterable[str], spares: Iterable[str], options: EngineOptions, step_s: float
) -> Engine:
    # Ray is an extra, slow to import, and reads its settings then.
    from gaisnet.nodes.settings import prepare

    private = options.address is None
    if not private:
        shown = credentials_from(options.credentials, options.insecure, os.environ)
        os.environ.update(shown)
    prepare(private=private)
    from gaisnet.executor.engines.ray.engine import RayEngine
    from gaisnet.executor.engines.ray.patience import Patience

    bounds = Patience.of(step_s, options.patience, simulated=private)
    return RayEngine(
        devices,
        spares,
        address=options.address,
        patience=bounds,
        log_level=options.log_level,
    )
