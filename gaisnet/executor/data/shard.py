"""Samples in memory, and the batches drawn from them.

Batches are stateless: which samples stand in batch ``step`` follows from the seed, the shard's
name and the step number alone, so a data cursor is one integer and resuming needs nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaisnet.errors import InputError

__all__ = ["Batch", "Shard", "concatenate", "epoch_order"]

_LABELS = "labels"
_EPOCH_BITS = 192
"""The epoch stands in the top 64 bits of Philox's counter: 2¹⁹² draws fit below it."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, the same first dimension everywhere."""

    inputs: dict[str, Tensor]
    """What the model's ``forward`` takes, by argument name."""
    labels: Tensor | None

    def __len__(self) -> int:
        return int(next(iter(self.inputs.values())).shape[0])

    def to(self, place: torch.device) -> Batch:
        """The same samples where they are computed with."""
        labels = None if self.labels is None else self.labels.to(place)
        return Batch({name: tensor.to(place) for name, tensor in self.inputs.items()}, labels)


@dataclass(frozen=True, slots=True)
class Shard:
    """All samples of one device, or of several that are fed as one."""

    name: str
    """Of the device; the order of its samples depends on it."""
    inputs: Mapping[str, Tensor]
    """Each ``[samples, …]``."""
    labels: Tensor | None = None
    """``[samples, …]``."""

    def __len__(self) -> int:
        return int(next(iter(self.inputs.values())).shape[0])

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, Tensor]) -> Shard:
        """What ``tensors`` gave, as samples again."""
        inputs = dict(tensors)
        labels = inputs.pop(_LABELS, None)
        return cls(name, inputs, labels)

    def tensors(self) -> dict[str, Tensor]:
        """Inputs and, if there are any, ``labels``."""
        return dict(self.inputs) | ({} if self.labels is None else {_LABELS: self.labels})

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """The samples with these row numbers, in this order."""
        index = torch.as_tensor(np.asarray(rows, dtype=np.int64))
        labels = None if self.labels is None else self.labels[index]
        return Batch({name: tensor[index] for name, tensor in self.inputs.items()}, labels)

    def batch(self, step: int, batch_size: int, seed: int) -> Batch:
        """The batch of a step, of exactly ``batch_size`` samples.

        The epochs' permutations stand one after the other in an endless row, from which every
        step takes the next ``batch_size``; so a batch may straddle epochs.

        Raises:
            ValueError: ``step`` is negative or ``batch_size`` is not positive.
        """
        if step < 0 or batch_size < 1:
            raise ValueError(f"there is no batch {step} of {batch_size} samples")
        places = range(step * batch_size, (step + 1) * batch_size)
        return self.take([self._row(place, seed) for place in places])

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Every sample once, as they stand in the file; the last batch may be smaller."""
        for first in range(0, len(self), batch_size):
            yield self.take(range(first, min(first + batch_size, len(self))))

    def _row(self, place: int, seed: int) -> int:
        epoch, offset = divmod(place, len(self))
        return int(epoch_order(seed, self.name, epoch, len(self))[offset])


@lru_cache(maxsize=128)
def epoch_order(seed: int, name: str, epoch: int, samples: int) -> NDArray[np.int64]:
    """The order of a shard's samples in an epoch.

    Philox, a counter-based generator (Salmon et al., SC 2011, "Parallel random numbers: as easy
    as 1, 2, 3"), keyed by seed and name, counts from the epoch; the permutation sorts its raw
    words, which NumPy keeps the same over versions (unlike ``Generator.permutation``).
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    words = np.random.Philox(key=int.from_bytes(digest[:16], "big"), counter=epoch << _EPOCH_BITS)
    order = np.argsort(words.random_raw(samples), kind="stable").astype(np.int64)
    order.setflags(write=False)
    return order


def concatenate(shards: Sequence[Shard], name: str) -> Shard:
    """Several devices' samples as one shard, in the order of the devices' names.

    Raises:
        InputError: The shards do not hold the same tensors with the same shape per sample.
        ValueError: There is no shard.
    """
    if not shards:
        raise ValueError("there is nothing to concatenate")
    ordered = sorted(shards, key=lambda shard: shard.name)
    for shard in ordered[1:]:
        _check_alike(ordered[0], shard)
    columns = {key: torch.cat([s.inputs[key] for s in ordered]) for key in ordered[0].inputs}
    labels = [s.labels for s in ordered if s.labels is not None]
    return Shard(name, columns, torch.cat(labels) if labels else None)


def _check_alike(first: Shard, other: Shard) -> None:
    ours, theirs = _sample_shapes(first), _sample_shapes(other)
    for key in sorted(set(ours) | set(theirs)):
        if ours.get(key) != theirs.get(key):
            raise InputError(
                f"{key} is {_shape_text(ours.get(key))} a sample in the data of {first.name}, "
                f"but {_shape_text(theirs.get(key))} in that of {other.name}",
                where=f"data of device {other.name}",
                hint="devices whose data is fed as one need the same tensors, padded alike",
            )


def _sample_shapes(shard: Shard) -> dict[str, tuple[int, ...]]:
    shapes = {key: tuple(tensor.shape[1:]) for key, tensor in shard.inputs.items()}
    if shard.labels is not None:
        shapes["labels"] = tuple(shard.labels.shape[1:])
    return shapes


def _shape_text(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else str(list(shape))
