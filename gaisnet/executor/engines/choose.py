"""Engines by name."""

from __future__ import annotations

from collections.abc import Iterable

from gaisnet.errors import UsageError
from gaisnet.executor.engines.base import Engine
from gaisnet.executor.engines.local import LocalEngine

__all__ = ["make_engine"]


def make_engine(
    name: str,
    devices: Iterable[str] = (),
    *,
    address: str | None = None,
    step_s: float = 0.0,
    patience: float = 1.0,
) -> Engine:
    """A new engine.

    Args:
        name: ``local`` or ``ray``.
        devices: Those that services will be placed on.
        address: ray: of the cluster's head; without it a cluster is started on this machine.
        step_s: ray: planned seconds of a local step; what takes far longer is lost.
        patience: ray: factor of all bounds that follow from it.

    Raises:
        UsageError: There is no engine of that name, or its package is not installed.
        RunError: It does not start.
        MismatchError: A device is not there.
    """
    if name == "local":
        if address is not None:
            raise UsageError("the local engine has no address", hint="use --engine ray")
        return LocalEngine()
    if name == "ray":
        return _ray_engine(devices, address, step_s, patience)
    raise UsageError(f"there is no engine {name!r}", hint="use --engine local or --engine ray")


def _ray_engine(
    devices: Iterable[str], address: str | None, step_s: float, patience: float
) -> Engine:
    # Ray is an extra, slow to import, and reads its settings then.
    from gaisnet.executor.engines.ray.settings import prepare

    prepare(private=address is None)
    from gaisnet.executor.engines.ray.engine import RayEngine
    from gaisnet.executor.engines.ray.patience import Patience

    bounds = Patience.of(step_s, patience, simulated=address is None)
    return RayEngine(devices, address=address, patience=bounds)
