"""What a model's layers cost on a device, and what the device can do."""

from gaisnet.profiler.device import profile_device
from gaisnet.profiler.model_part import profile_model
from gaisnet.profiler.progress import Progress

__all__ = ["Progress", "profile_device", "profile_model"]
