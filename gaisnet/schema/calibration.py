"""``step.json``: one training step timed on a device, which corrects an extrapolation to it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gaisnet.schema.base import PositiveCount, Sha256, Strict
from gaisnet.schema.model import TunableSpec
from gaisnet.schema.profile import Spread

__all__ = ["CalibrationStep", "StepParts"]


class StepParts(Strict):
    """What a step consists of, over all units. Devices differ in unlike measure in each: a pass
    hangs on products, an update on memory."""

    forward: Spread
    backward: Spread
    update: Spread


class CalibrationStep(Strict):
    """What ``gaisnet profile MODEL --calibration`` writes on the device in question."""

    schema_version: Literal[1] = 1
    kind: Literal["calibration"] = "calibration"
    device: str
    """Name of the device that the step was taken on."""
    fingerprint: Sha256
    """Of the model, as in a profile."""
    tunable: TunableSpec
    optimizer: Literal["sgd", "adamw"]
    tokens: PositiveCount
    """Sequence length of the step."""
    batch_size: PositiveCount
    step: Spread
    """Forward, backward and update of the whole model, by the clock."""
    step_cpu: Spread
    """The same in process CPU time."""
    parts_cpu: StepParts | None = None
    """CPU time of the step's parts; none in files of earlier versions."""
    threads: PositiveCount = 1
    tool_versions: dict[str, str] = Field(default_factory=dict)
