"""What a model's layers cost on a device, and what the device can do."""

from gaisnet.profiler.calibrate import calibration_step
from gaisnet.profiler.device import profile_device
from gaisnet.profiler.make import make_profile
from gaisnet.profiler.model_part import profile_model
from gaisnet.profiler.stage_measured import measured_stage_peak
from gaisnet.profiler.stage_memory import StageMemory, stage_memory
from gaisnet.progress import Progress

__all__ = [
    "Progress",
    "StageMemory",
    "calibration_step",
    "make_profile",
    "measured_stage_peak",
    "profile_device",
    "profile_model",
    "stage_memory",
]
