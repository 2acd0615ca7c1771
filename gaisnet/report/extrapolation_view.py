"""How extrapolated times came about, in words; and a calibration step in the terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from gaisnet.report.units import as_percent, as_seconds
from gaisnet.schema.calibration import CalibrationStep
from gaisnet.schema.profile import Extrapolation

__all__ = ["calibration_view", "told_extrapolation"]


def told_extrapolation(made: Extrapolation) -> str:
    """One sentence: whose times they are, from what, and how far off they may be."""
    way = (
        f"measured on {made.measured_on} and scaled by the two devices' figures"
        if made.method == "scaled"
        else "made from counts and the device's figures alone"
    )
    step = (
        f"; times {made.calibration:.3g} after one step of batch {made.calibrated_batch_size} there"
        if made.calibrated_batch_size is not None
        else ""
    )
    error = (
        "how far off they are is not known"
        if made.expected_error is None
        else f"expect a step to be within {as_percent(made.expected_error)}"
    )
    return f"times of {made.device} are extrapolated: {way}{step}; {error}"


def calibration_view(step: CalibrationStep) -> RenderableType:
    """A calibration step, for people."""
    return Text(
        f"{step.device}: a step of batch {step.batch_size}, {step.tokens} tokens takes "
        f"{as_seconds(step.step_cpu.expected_s)} of CPU time, {as_seconds(step.step.expected_s)} "
        f"on the clock"
    )
