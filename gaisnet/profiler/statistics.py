"""Robust summaries of repeated measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gaisnet.schema.profile import Spread

__all__ = ["spread_of"]


def spread_of(seconds: Sequence[float]) -> Spread:
    """Median and half the interquartile range of ``seconds`` (at least one, none negative)."""
    low, middle, high = np.percentile(np.asarray(seconds, dtype=float), [25, 50, 75])
    return Spread(median_s=float(middle), spread_s=float((high - low) / 2), samples=len(seconds))
