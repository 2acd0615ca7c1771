"""How a service on a device makes frames, and which it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from gaisnet.executor.frames import Buffer, FrameError, Header, Kind, decode, encode
from gaisnet.schema.job import Compression

__all__ = ["Mailbox", "Moment"]


@dataclass(frozen=True, slots=True)
class Moment:
    """When in a run a frame belongs."""

    round: int = 0
    step: int = 0
    microbatch: int = 0


class Mailbox:
    """Stamps a device's frames, and opens those that are meant for it."""

    def __init__(self, device: str, run: str) -> None:
        self.device = device
        self._run = run
        self._sequence = 0

    def frame(
        self,
        kind: Kind,
        receiver: str,
        tensors: Mapping[str, Tensor],
        moment: Moment,
        *,
        stage: str = "",
        rows: tuple[int, ...] = (),
        compression: Compression = "none",
    ) -> tuple[str, Buffer]:
        """A frame for ``receiver``, beside its name; see ``frames.Header`` for the fields."""
        header = Header(
            run=self._run,
            kind=kind,
            sender=self.device,
            receiver=receiver,
            sequence=self._sequence,
            round=moment.round,
            step=moment.step,
            microbatch=moment.microbatch,
            stage=stage,
            rows=rows,
            compression=compression,
        )
        self._sequence += 1
        return receiver, encode(header, tensors)

    def open(self, frame: Buffer, moment: Moment, *kinds: Kind) -> tuple[Header, dict[str, Tensor]]:
        """Header and tensors of a frame that must be of this run, this moment and these kinds.

        Raises:
            FrameError: It is damaged, or any of that is otherwise.
        """
        header, tensors = decode(frame)
        if header.run != self._run or header.receiver != self.device:
            raise FrameError(
                f"a frame of run {header.run} for {header.receiver} came to {self.device}"
            )
        found = Moment(header.round, header.step, header.microbatch)
        if found != moment:
            raise FrameError(f"{self.device} expects a frame of {moment}, not of {found}")
        if header.kind not in kinds:
            raise FrameError(f"{self.device} expects {' or '.join(kinds)}, not {header.kind}")
        return header, tensors
