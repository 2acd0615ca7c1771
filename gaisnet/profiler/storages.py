"""Live and peak bytes of everything that operators allocate.

Sums of saved tensors miss what is only alive for a moment, and miss views that keep a whole
storage alive. Storages are what an allocator hands out, so they are counted themselves, when the
first operator returns one and until it dies. It works on real tensors and, without allocating
anything, on fake ones.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["StorageTracker"]


class StorageTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of storages while it is active.

    What exists before is unknown to it unless it is told by ``add``.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        """Bytes alive now."""
        self.peak_bytes = 0
        """Most bytes alive at once since ``restart_peak``."""
        self.operators = 0
        """Operators called, views not counted."""
        self._known: dict[int, weakref.finalize[Any, Any]] = {}

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that are there already."""
        for tensor in tensors:
            self._notice(tensor)

    def restart_peak(self) -> None:
        """Forget the peak: from now on it is the highest from here."""
        self.peak_bytes = self.live_bytes

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace == "aten" and not func.is_view:
            self.operators += 1
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._notice(leaf)
        return result

    def _notice(self, tensor: Tensor) -> None:
        if tensor.is_meta:
            return
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._known:
            return
        n_bytes = storage.nbytes()
        self._known[key] = weakref.finalize(storage, self._forget, key, n_bytes)
        self._known[key].atexit = False
        self.live_bytes += n_bytes
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _forget(self, key: int, n_bytes: int) -> None:
        del self._known[key]
        self.live_bytes -= n_bytes
