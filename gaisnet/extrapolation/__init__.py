"""What a model takes on a device that did not time it: one model of time for all rooms above."""

from gaisnet.extrapolation.extrapolate import (
    DEFAULT_BATCH_SIZES,
    extrapolate,
    extrapolate_profile,
)
from gaisnet.extrapolation.lines import lines_s
from gaisnet.extrapolation.seconds import Direction, FloatArray, modelled_s, modelled_update_s
from gaisnet.extrapolation.speeds import Speeds, speeds_of
from gaisnet.extrapolation.steps import step_s, timed_s, timed_update_s
from gaisnet.extrapolation.work import Work, scaled_flops, work_of

__all__ = [
    "DEFAULT_BATCH_SIZES",
    "Direction",
    "FloatArray",
    "Speeds",
    "Work",
    "extrapolate",
    "extrapolate_profile",
    "lines_s",
    "modelled_s",
    "modelled_update_s",
    "scaled_flops",
    "speeds_of",
    "step_s",
    "timed_s",
    "timed_update_s",
    "work_of",
]
