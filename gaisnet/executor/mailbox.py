"""How a service on a device makes frames, and which it accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from gaisnet.executor.frames import Buffer, FrameError, Header, Kind, decode, encode
from gaisnet.schema.job import Compression

__all__ = ["Mailbox", "Moment", "check_epoch"]


@dataclass(frozen=True, slots=True)
class Moment:
    """When in a run a frame belongs."""

    round: int = 0
    step: int = 0
    microbatch: int = 0


class Mailbox:
    """Stamps a device's frames, and opens those that are meant for it.

    Args:
        device: Id of the device.
        run: Id of the run.
        epoch: Of the run; frames of any other are refused, so that whoever was lost and has come
            back can do no harm.
    """

    def __init__(self, device: str, run: str, epoch: int = 0) -> None:
        self.device = device
        self._run = run
        self._epoch = epoch
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
            epoch=self._epoch,
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
        check_epoch(header, self._epoch, self.device)
        found = Moment(header.round, header.step, header.microbatch)
        if found != moment:
            raise FrameError(f"{self.device} expects a frame of {moment}, not of {found}")
        if header.kind not in kinds:
            raise FrameError(f"{self.device} expects {' or '.join(kinds)}, not {header.kind}")
        return header, tensors


def check_epoch(header: Header, epoch: int, device: str) -> None:
    """Raises FrameError if a frame that came to a device is not of this epoch."""
    if header.epoch != epoch:
        raise FrameError(
            f"a frame of {header.sender} from epoch {header.epoch} came to {device} in {epoch}"
        )
