"""What carries bytes between this device and another, as measured, in a profile."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gaisnet.schema.base import BytesFigure, Figure, PositiveCount, PositiveFigure, Strict

__all__ = ["LinkPart", "LinkRate", "TransferTime"]


class TransferTime(Strict):
    """Repeated frames of one size, each from packing until the other end has unpacked it."""

    payload_bytes: BytesFigure
    median_s: Figure
    spread_s: Figure
    """Half the distance between the first and the third quartile."""
    samples: PositiveCount


class LinkRate(Strict):
    """One direction."""

    bandwidth_bits_per_s: PositiveFigure
    """Payload over time beyond the round trip: the slope of a robust line over the sizes."""
    spread_bits_per_s: Figure
    """Half the distance between the quartiles of the slopes of single rounds."""
    transfers: Annotated[tuple[TransferTime, ...], Field(min_length=2)]


class LinkPart(Strict):
    """A link as a run's frames over TCP have it; what a fleet's ``links`` take."""

    peer: str
    """``HOST:PORT`` of the other end."""
    transport: Literal["tcp"] = "tcp"
    latency_s: Figure
    """One way: half the median round trip of an empty frame."""
    latency_spread_s: Figure
    """Half the distance between the quartiles of the same."""
    to_peer: LinkRate
    from_peer: LinkRate
    moved_bytes: BytesFigure
    """Payload that the measurement itself sent, both ways together."""
