"""An owner's part in secure aggregation: keys, sealed shares, masked modules, reveals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gaisnet.errors import RunError, SecurityError, UsageError
from gaisnet.executor.engines.base import Answer
from gaisnet.executor.frames import Buffer
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.privacy.fixed_point import to_fixed

if TYPE_CHECKING:
    from gaisnet.executor.privacy.secure_sum import Contributor

__all__ = ["OwnerSide", "as_tensor", "sum_context"]

KEYS = "keys"


class OwnerSide:
    """Answers the steps of a round's sum over a cluster; every frame goes to the edge.

    Args:
        mailbox: The device's.
        run: Id of the run.
    """

    def __init__(self, mailbox: Mailbox, run: str) -> None:
        self._mailbox, self._run = mailbox, run
        self._sums: dict[str, Contributor] = {}

    def keys(self, cluster: str, threshold: int, moment: Moment, receiver: str) -> Answer:
        """Begin a sum: this owner's public keys."""
        device, context = self._mailbox.device, sum_context(self._run, cluster, moment)
        self._sums[cluster] = _contributor(device, context, threshold)
        return self._frame({KEYS: as_tensor(self._sums[cluster].keys())}, moment, receiver)

    def shares(self, cluster: str, moment: Moment, receiver: str, frame: Buffer) -> Answer:
        """Shares of this owner's secrets, sealed for each of the others whose keys came."""
        _, keys = self._mailbox.open(frame, moment, "secrets")
        sealed = self._sums[cluster].shares({n: as_bytes(t) for n, t in keys.items()})
        return self._frame({n: as_tensor(s) for n, s in sealed.items()}, moment, receiver)

    def masked(
        self,
        cluster: str,
        samples: int,
        moment: Moment,
        receiver: str,
        state: Mapping[str, Tensor],
        frame: Buffer,
    ) -> Answer:
        """The modules times ``samples`` as masked words; none if they cannot be added up."""
        _, shares = self._mailbox.open(frame, moment, "secrets")
        names = sorted(state)
        flat = [state[n].detach().double().cpu().reshape(-1).numpy() for n in names]
        try:
            words = to_fixed(np.concatenate(flat), samples)
        except RunError:  # its own modules are not finite: it takes no part
            return Answer((self._mailbox.frame("modules", receiver, {}, moment),))
        sealed = {n: as_bytes(t) for n, t in shares.items()}
        hidden = torch.from_numpy(self._sums[cluster].masked(words, sealed).view(np.int64))
        pieces = torch.split(hidden, [state[n].numel() for n in names])
        tensors = {n: p.reshape(state[n].shape) for n, p in zip(names, pieces, strict=True)}
        return Answer((self._mailbox.frame("modules", receiver, tensors, moment),))

    def reveal(
        self, cluster: str, survivors: Sequence[str], moment: Moment, receiver: str
    ) -> Answer:
        """What unmasks the sum over ``survivors``, once.

        Raises:
            SecurityError: It was asked before, or does not unmask that.
        """
        held = self._sums.pop(cluster, None)
        if held is None:
            device = self._mailbox.device
            raise SecurityError(f"{device} has nothing to reveal of cluster {cluster}")
        revealed = held.reveal(survivors)
        return self._frame({n: as_tensor(s) for n, s in revealed.items()}, moment, receiver)

    def _frame(self, tensors: Mapping[str, Tensor], moment: Moment, receiver: str) -> Answer:
        return Answer((self._mailbox.frame("secrets", receiver, tensors, moment),))


def sum_context(run: str, cluster: str, moment: Moment) -> str:
    """Names a sum: what was made for another does not fit."""
    return f"{run}/{moment.round}/{cluster}"


def as_tensor(data: bytes) -> Tensor:
    """Bytes as they travel, uint8 ``[n]``."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def as_bytes(tensor: Tensor) -> bytes:
    """What ``as_tensor`` was given."""
    data: bytes = tensor.to(torch.uint8).numpy().tobytes()
    return data


def _contributor(device: str, context: str, threshold: int) -> Contributor:
    try:
        from gaisnet.executor.privacy.secure_sum import Contributor
    except ImportError as error:
        raise UsageError(
            "secure aggregation needs the libraries cryptography and pycryptodome",
            hint="pip install 'gaisnet[privacy]' on every owner and edge",
        ) from error
    return Contributor(device, context, threshold)
