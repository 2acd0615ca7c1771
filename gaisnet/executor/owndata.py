"""The data that a device owns, and the micro-batches that its stages read from it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from gaisnet.errors import RunError
from gaisnet.executor.data import Batch, Shard, concatenate
from gaisnet.executor.tasks import BatchRef

__all__ = ["OwnData"]


class OwnData:
    """Shards by name. Head and tail of an owner read the same batch: it is drawn once."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._shards: dict[str, Shard] = {}
        self._drawn: dict[str, tuple[BatchRef, Batch]] = {}

    def add(self, shard: Shard) -> None:
        """Own a shard."""
        self._shards[shard.name] = shard

    def shard(self, name: str) -> Shard:
        """A shard by name.

        Raises:
            RunError: The device does not own it.
        """
        if name not in self._shards:
            raise RunError(f"device {self._device} has no data {name}")
        return self._shards[name]

    def pool(self, name: str, shards: Iterable[Shard]) -> None:
        """Own several shards as one."""
        self.add(concatenate(list(shards), name))

    def microbatch(self, ref: BatchRef, index: int) -> Batch:
        """Micro-batch ``index`` of a batch.

        Raises:
            RunError: The device does not own the data.
        """
        known = self._drawn.get(ref.shard)
        if known is None or known[0] != ref:
            batch = self.shard(ref.shard).batch(ref.step, ref.batch_size, ref.seed)
            known = self._drawn[ref.shard] = ref, batch
        labels = known[1].labels

        def part(tensor: Tensor) -> Tensor:
            return tensor.tensor_split(ref.microbatches)[index]

        inputs = {name: part(tensor) for name, tensor in known[1].inputs.items()}
        return Batch(inputs, None if labels is None else part(labels))
