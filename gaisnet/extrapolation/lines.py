"""Times between and beyond the batch sizes that were timed: lines ``a + b · batch``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaisnet.extrapolation.work import FloatArray

__all__ = ["lines_s"]


def lines_s(batch_sizes: Sequence[int], seconds: FloatArray, batch_size: int) -> FloatArray:
    """Least squares over batch sizes, neither intercept nor slope negative.

    With one batch size time is taken as proportional to the batch.

    Args:
        batch_sizes: The ``B`` sizes that were timed.
        seconds: Times ``[L, B]``.
        batch_size: The size that is asked for.

    Returns:
        Seconds ``[L]``.
    """
    sizes = np.array(batch_sizes, dtype=np.float64)
    proportional: FloatArray = seconds @ sizes / (sizes @ sizes) * batch_size
    if len(set(batch_sizes)) == 1:
        return proportional
    centred = sizes - sizes.mean()
    mean = seconds.mean(axis=1)
    slope = seconds @ centred / (centred @ centred)
    fixed = mean - slope * sizes.mean()
    line = np.where(fixed < 0.0, proportional, fixed + slope * batch_size)
    return np.where(slope < 0.0, mean, line)
