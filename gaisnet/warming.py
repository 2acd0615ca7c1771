"""Imported by a process that waits on a device for a run: everything that it will need."""

from __future__ import annotations

from gaisnet.garbage import nothing_collected

__all__ = ["DeviceProcess"]

with nothing_collected():
    from gaisnet.executor.engines.ray.device import DeviceProcess
