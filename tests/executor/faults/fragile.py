"""The embedded engine with devices that can be taken away: what a loss does, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from gaisnet.executor.engines import Address, LocalEngine, Parcel
from gaisnet.executor.engines.base import Answer, LostDeviceError
from gaisnet.executor.frames import Buffer

Before = Callable[[Address, str], None]
"""Is told of every call before it is done."""


class FragileEngine(LocalEngine):
    """Devices in ``gone`` do nothing any more; nor do they answer."""

    def __init__(self, before: Before = lambda address, method: None, **options: Any) -> None:
        super().__init__(**options)
        self.gone: set[str] = set()
        self.before = before

    def _method(self, address: Address, method: str) -> Callable[..., Answer]:
        self.before(address, method)
        self._needs(address.device)
        return super()._method(address, method)

    def place(self, address: Address, blueprint: Any) -> None:
        self._needs(address.device)
        super().place(address, blueprint)

    def _carry(self, parcel: Parcel, receiver: Address) -> Parcel:
        self._needs(parcel.address.device)
        self._needs(receiver.device)
        return super()._carry(parcel, receiver)

    def put(self, frame: Buffer, receiver: Address) -> Parcel:
        self._needs(receiver.device)
        return super().put(frame, receiver)

    def watch(self) -> frozenset[str]:
        return frozenset(self.gone)

    def reach(self, devices: Collection[str]) -> frozenset[str]:
        return frozenset(devices) - self.gone

    def _needs(self, device: str) -> None:
        if device in self.gone:
            raise LostDeviceError(f"device {device} is lost: it was taken away", where=device)
