"""``run-calibration.json``: how a run went against what was predicted, and figures that fit it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gaisnet.schema.base import (
    Bytes,
    Count,
    Identifier,
    NonNegative,
    Positive,
    PositiveCount,
    Sha256,
    Strict,
)

__all__ = ["Calibration", "DeviceFit", "LinkFit", "LossFit", "Times"]


class Times(Strict):
    """The same thing predicted, measured, and predicted with the new figures."""

    predicted_s: NonNegative
    measured_s: NonNegative
    calibrated_s: NonNegative


class DeviceFit(Strict):
    """One device: all its times are multiplied by ``factor``."""

    device: Identifier
    factor: Positive
    """The weighted median of measured over predicted, over rounds and kinds of passes."""
    spread: NonNegative
    """Half the distance between the weighted quartiles of the same."""
    passes: PositiveCount
    round_times: Times
    """What the device computes in a round, medians over rounds."""


class LinkFit(Strict):
    """One directed link."""

    sender: Identifier
    receiver: Identifier
    bandwidth_bits_per_s: Positive
    latency_s: NonNegative
    fitted: Literal["line", "factor"]
    """``line``: latency and bandwidth by frames of several sizes. ``factor``: the frames were of
    one size, so both are scaled alike."""
    frames: PositiveCount
    largest_frame_bytes: Bytes
    round_times: Times
    """What the link carries in a round, medians over rounds."""


class LossFit(Strict):
    """What rounds are worth: the loss after ``r`` is ``initial_loss - U(r)``, with the utility
    ``U(r) = amplitude (1 - (1 + r / scale_rounds) ** -exponent)``."""

    kind: Literal["held_out", "training"]
    """Which loss it is of."""
    initial_loss: NonNegative
    amplitude: Positive
    scale_rounds: Positive
    exponent: Positive
    points: PositiveCount
    residual: NonNegative
    """Mean distance of the measured losses from the curve."""


class Calibration(Strict):
    """What ``gaisnet plan --calibrate`` finds, and ``--calibration`` plans with."""

    schema_version: Literal[1] = 1
    run_id: Identifier
    plan_sha256: Sha256
    """Of the plan that was run."""
    engine: str
    clock: Literal["virtual", "wall"]
    """``wall``: by the devices' own clocks. ``virtual``: by the figures that the run had."""
    rounds: PositiveCount
    round_times: Times
    """A whole round, the median, on the same clock."""
    devices: tuple[DeviceFit, ...]
    links: tuple[LinkFit, ...] = ()
    loss: LossFit | None = None
    unseen: tuple[str, ...] = ()
    """Devices and links in use of which the run tells nothing: they keep their figures."""
    skipped_rounds: Count = 0
    """Rounds without records."""
    tool_versions: dict[str, str] = Field(default_factory=dict)
