"""The small control messages that tell a holder what to compute; they carry no tensors."""

from __future__ import annotations

from dataclasses import dataclass

from gaisnet.executor.mailbox import Moment

__all__ = ["BatchRef", "Pass", "StageSpec"]


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage that a device holds for a cluster."""

    name: str
    """Unique on its device, e.g. ``c0/body-1``."""
    first_unit: int
    last_unit: int
    gradient_below: bool
    """Whether anything below is tuned, so that a gradient crosses the cut below this stage."""


@dataclass(frozen=True, slots=True)
class BatchRef:
    """A batch of the owner's own data, cut into micro-batches."""

    shard: str
    step: int
    """Data cursor: steps that were taken on the shard before."""
    batch_size: int
    microbatches: int
    seed: int


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of a micro-batch through a stage, forward or backward."""

    stage: str
    moment: Moment
    receivers: tuple[str, ...] = ()
    """Devices that get what comes out: one for all, or each the rows of its owner."""
    batch: BatchRef | None = None
    """For stages that read the owner's own data: inputs at the head, labels at the tail."""
    side_inputs: bool = True
    """Whether the receivers need the side inputs (masks); a tail has its own."""
    labels_for: str | None = None
    """Vanilla topology: device that gets the labels in a frame of their own."""
    labels_with: bool = False
    """Vanilla topology: the receiver of the activations gets the labels in the same frame."""
    weight: float = 1.0
    """Factor of the loss: the micro-batch's part of the batch."""
    scale: float = 1.0
    """Factor of the gradient that leaves the tail or arrives at the head (feature merging)."""
    dropout: tuple[int, int] | None = None
    """Seed and step of dropout's draws; ``None`` leaves it off."""
