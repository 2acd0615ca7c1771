"""Real numbers as integers modulo 2^64, whose sums are exact in any order."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from gaisnet.errors import RunError

__all__ = ["FRACTION_BITS", "Words", "from_fixed", "to_fixed"]

FRACTION_BITS = 24
"""Binary places: an error of at most 2^-25 in each weighted value."""

Words: TypeAlias = npt.NDArray[np.uint64]

_EXACT = 2.0**53
"""Up to here float64 holds every integer."""


def to_fixed(values: npt.NDArray[np.float64], weight: int) -> Words:
    """``weight * values`` as fixed-point words, negative ones as two's complement.

    Raises:
        RunError: A value is not finite, or too large to be exact.
    """
    scaled = np.rint(values * weight * 2.0**FRACTION_BITS)
    if not bool((np.abs(scaled) < _EXACT).all()):
        raise RunError(
            f"{np.abs(values).max():.3g} times {weight} samples has no exact fixed point",
            hint="secure aggregation needs finite modules of moderate size; is training stable?",
        )
    return scaled.astype(np.int64).view(np.uint64)


def from_fixed(words: Words, weight: int) -> npt.NDArray[np.float64]:
    """The real numbers, divided by ``weight``."""
    values: npt.NDArray[np.float64] = words.view(np.int64) / (weight * 2.0**FRACTION_BITS)
    return values
