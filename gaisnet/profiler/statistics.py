"""Robust summaries of repeated measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaisnet.schema.profile import Spread

__all__ = ["spread_of"]


_FAR = 3.0
"""Times the median beyond which a sample is no repetition: two programs on one core halve its
speed at most; what takes longer is a machine that was halted, or memory touched the first time."""


def spread_of(seconds: Sequence[float]) -> Spread:
    """Middle and spread of ``seconds`` (at least one, none negative).

    The spread is that of single samples, not of their mean, which would be smaller: other
    programs slow a machine down for longer than a profile takes, so that the samples of one
    profile are not independent, and another may find the machine as one of them did.
    """
    found = np.asarray(seconds, dtype=float)
    low, middle, high = np.percentile(found, [5, 50, 95])
    return Spread(
        median_s=float(middle),
        mean_s=float(found[found <= _FAR * middle].mean()),
        spread_s=float((high - low) / 2),
        samples=len(seconds),
    )
