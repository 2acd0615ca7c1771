"""What protects the owners' modules from those that average them."""

from gaisnet.executor.privacy.fixed_point import FRACTION_BITS, Words, from_fixed, to_fixed
from gaisnet.executor.privacy.secure_sum import Contributor, default_threshold, unmasked_sum

__all__ = [
    "FRACTION_BITS",
    "Contributor",
    "Words",
    "default_threshold",
    "from_fixed",
    "to_fixed",
    "unmasked_sum",
]
