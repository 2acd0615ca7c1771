"""An edge server's part in secure aggregation: it passes sealed things on, and adds masked ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.privacy.fixed_point import Words, from_fixed
from gaisnet.executor.privacy.owner_side import KEYS, as_bytes, sum_context

__all__ = ["Adder"]


@dataclass(slots=True)
class _Sum:
    """One round's sum over a cluster."""

    keys: dict[str, bytes] = field(default_factory=dict)
    masked: dict[str, Words] = field(default_factory=dict)
    samples: int = 0
    names: tuple[str, ...] = ()
    closed: bool = False


class Adder:
    """Keeps the sums of an edge's clusters while their frames come in.

    Args:
        mailbox: The device's.
        run: Id of the run.
    """

    def __init__(self, mailbox: Mailbox, run: str) -> None:
        self._mailbox, self._run = mailbox, run
        self._sums: dict[str, _Sum] = {}

    def relay_keys(self, cluster: str, moment: Moment, frames: Sequence[Buffer]) -> Answer:
        """All owners' keys to each of them, in the order of the frames."""
        opened = [self._mailbox.open(frame, moment, "secrets") for frame in frames]
        tensors = {header.sender: parts[KEYS] for header, parts in opened}
        self._sums[cluster] = _Sum({name: as_bytes(key) for name, key in tensors.items()})
        return Answer(tuple(self._frame(name, tensors, moment) for name in tensors))

    def relay_shares(self, moment: Moment, frames: Sequence[Buffer]) -> Answer:
        """Each owner gets what the others sealed for it, in the order of the frames."""
        opened = [self._mailbox.open(frame, moment, "secrets") for frame in frames]
        sealed = {header.sender: parts for header, parts in opened}
        return Answer(
            tuple(
                self._frame(me, {s: p[me] for s, p in sealed.items() if me in p}, moment)
                for me in sealed
            )
        )

    def add(self, cluster: str, source: str, samples: int, state: Mapping[str, Tensor]) -> bool:
        """Take an owner's masked modules, int64 tensors; not when the sum is closed.

        The others reveal what unmasks the sum over those that were in it when it was closed.
        """
        held = self._sums[cluster]
        if held.closed:
            return False
        flat = torch.cat([state[name].reshape(-1) for name in sorted(state)])
        held.masked[source] = flat.numpy().view(np.uint64)
        held.samples += samples
        held.names = tuple(sorted(state))
        return True

    def close(self, cluster: str) -> list[str]:
        """Owners whose masked modules came, sorted; nobody's are added from now on."""
        held = self._sums[cluster]
        held.closed = True
        return sorted(held.masked)

    def samples(self, cluster: str) -> int:
        """Of the survivors."""
        return self._sums[cluster].samples

    def names(self, cluster: str) -> tuple[str, ...]:
        """Of the modules that are added up."""
        return self._sums[cluster].names

    def mean(
        self,
        cluster: str,
        threshold: int,
        moment: Moment,
        like: Mapping[str, Tensor],
        frames: Sequence[Buffer],
    ) -> dict[str, Tensor]:
        """The mean over the survivors, weighted by samples, and nothing of any one of them.

        Args:
            cluster: Whose owners were added up.
            threshold: As the owners were given it.
            moment: The round.
            like: Tensors of the shapes and types that the mean has.
            frames: The survivors' reveals.

        Raises:
            SecurityError: They are too few.
        """
        from gaisnet.executor.privacy.secure_sum import unmasked_sum

        held = self._sums.pop(cluster)
        opened = [self._mailbox.open(frame, moment, "secrets") for frame in frames]
        reveals = {h.sender: {n: as_bytes(t) for n, t in parts.items()} for h, parts in opened}
        context = sum_context(self._run, cluster, moment)
        words = unmasked_sum(held.masked, held.keys, reveals, context, threshold)
        values = torch.from_numpy(from_fixed(words, held.samples))
        names = sorted(like)
        pieces = torch.split(values, [like[name].numel() for name in names])
        return {
            name: piece.reshape(like[name].shape).to(like[name].dtype)
            for name, piece in zip(names, pieces, strict=True)
        }

    def _frame(
        self, receiver: str, tensors: Mapping[str, Tensor], moment: Moment
    ) -> tuple[str, Buffer]:
        return self._mailbox.frame("secrets", receiver, tensors, moment)
