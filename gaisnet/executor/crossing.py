"""What crosses a cut: hidden states with masks and, if they must, labels; gradients back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gaisnet.executor.compress import pack, unpack
from gaisnet.executor.frames import Buffer
from gaisnet.executor.mailbox import Mailbox, Moment
from gaisnet.executor.merging import join, join_columns, split
from gaisnet.models import FoundationModel
from gaisnet.schema.job import Compression

__all__ = ["Arrival", "Crossing", "Frames"]

_HIDDEN, _SIDE, _GRADIENT, _LABELS = "hidden", "side.", "gradient", "labels"

Frames = tuple[tuple[str, Buffer], ...]
"""Frames, each beside the device that it is for."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a forward pass starts from."""

    inputs: Mapping[str, Tensor]
    """Raw inputs at the head, side inputs elsewhere."""
    hidden: Tensor | None
    """``[batch, tokens, width]``; none at the head."""
    labels: Tensor | None
    rows: tuple[int, ...]
    """Samples of each owner, in the owners' order."""


class Crossing:
    """Makes and opens the frames of one device's stages.

    What is opened lies where the model does; frames are made of tensors wherever they lie.

    Args:
        mailbox: The device's.
        model: Says width, type and place of hidden states.
        compression: Of hidden states and gradients.
    """

    def __init__(self, mailbox: Mailbox, model: FoundationModel, compression: Compression) -> None:
        self._mailbox = mailbox
        self._width = model.anatomy.hidden_size
        self._dtype: torch.dtype = getattr(torch, model.spec.dtype)
        self._place = model.device
        self._compression: Compression = compression

    def activations(
        self,
        moment: Moment,
        receivers: Sequence[str],
        hidden: Tensor,
        sides: Mapping[str, Tensor],
        rows: tuple[int, ...],
        labels: Tensor | None = None,
    ) -> Frames:
        """Hidden states (of several receivers, each gets its rows) with their side inputs, and
        with labels if the receiver is the one that needs them."""
        pieces = split(hidden.detach(), rows, len(receivers))
        shared = {_SIDE + name: tensor for name, tensor in sides.items()}
        if labels is not None:
            shared[_LABELS] = labels
        return tuple(
            self._mailbox.frame(
                "activation",
                receiver,
                pack(_HIDDEN, piece, self._compression) | shared,
                moment,
                rows=rows if len(pieces) == 1 else (len(piece),),
                compression=self._compression,
            )
            for receiver, piece in zip(receivers, pieces, strict=True)
        )

    def labels(self, moment: Moment, receiver: str, labels: Tensor) -> Frames:
        """Labels, under the vanilla topology."""
        return (self._mailbox.frame("labels", receiver, {_LABELS: labels}, moment),)

    def gradients(
        self, moment: Moment, receivers: Sequence[str], gradient: Tensor, rows: tuple[int, ...]
    ) -> Frames:
        """Gradients by the hidden states that came in, to those that sent them."""
        pieces = split(gradient, rows, len(receivers))
        return tuple(
            self._mailbox.frame(
                "gradient",
                receiver,
                pack(_GRADIENT, piece, self._compression),
                moment,
                compression=self._compression,
            )
            for receiver, piece in zip(receivers, pieces, strict=True)
        )

    def arrive(self, moment: Moment, frames: Sequence[Buffer]) -> Arrival:
        """Join the ``activation`` and ``labels`` frames of one or several owners."""
        opened = [self._mailbox.open(frame, moment, "activation", "labels") for frame in frames]
        came = [(header, tensors) for header, tensors in opened if header.kind == "activation"]
        labels = [tensors[_LABELS] for _, tensors in opened if _LABELS in tensors]
        hidden = [unpack(_HIDDEN, tensors, self._width, self._dtype) for _, tensors in came]
        sides = join_columns([tensors for _, tensors in came], _SIDE)
        return Arrival(
            inputs={name: tensor.to(self._place) for name, tensor in sides.items()},
            hidden=join(hidden).to(self._place),
            labels=join(labels).to(self._place) if labels else None,
            rows=tuple(n for header, _ in came for n in header.rows),
        )

    def returned(self, moment: Moment, frames: Sequence[Buffer]) -> Tensor:
        """Join the ``gradient`` frames of one or several owners."""
        opened = [self._mailbox.open(frame, moment, "gradient")[1] for frame in frames]
        parts = [unpack(_GRADIENT, tensors, self._width, self._dtype) for tensors in opened]
        return join(parts).to(self._place)
