"""Counts what is sent over each directed link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gaisnet.executor.frames import Buffer, payload_bytes
from gaisnet.schema.run import LinkTraffic

__all__ = ["Meter"]


@dataclass(slots=True)
class _Count:
    frames: int = 0
    payload_bytes: int = 0
    frame_bytes: int = 0


class Meter:
    """Frames, payload bytes (tensors) and frame bytes (all) per sender and receiver.

    What a device hands to itself crosses no link and is not counted.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}

    def count(self, sender: str, receiver: str, frame: Buffer) -> None:
        """Count one frame."""
        if sender == receiver:
            return
        count = self._counts.setdefault((sender, receiver), _Count())
        count.frames += 1
        count.payload_bytes += payload_bytes(frame)
        count.frame_bytes += len(frame)

    def add(self, sender: str, receiver: str, payload_bytes: int, frame_bytes: int) -> None:
        """Count one frame of known sizes."""
        if sender == receiver:
            return
        count = self._counts.setdefault((sender, receiver), _Count())
        count.frames += 1
        count.payload_bytes += payload_bytes
        count.frame_bytes += frame_bytes

    def put(self, traffic: Iterable[LinkTraffic]) -> None:
        """Add what somebody else has counted."""
        for link in traffic:
            count = self._counts.setdefault((link.sender, link.receiver), _Count())
            count.frames += link.frames
            count.payload_bytes += link.payload_bytes
            count.frame_bytes += link.frame_bytes

    def take(self) -> tuple[LinkTraffic, ...]:
        """What was counted since the last call, by sender and receiver; counting starts anew."""
        counts, self._counts = self._counts, {}
        return tuple(
            LinkTraffic(
                sender=sender,
                receiver=receiver,
                frames=count.frames,
                payload_bytes=count.payload_bytes,
                frame_bytes=count.frame_bytes,
            )
            for (sender, receiver), count in sorted(counts.items())
        )
