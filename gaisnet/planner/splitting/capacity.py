"""Certificates that the devices left cannot take the units left.

For any weights w >= 0 on the units, a chain through the unused devices covers at most

    sum over unused n of max { w(i..j) : segment (n,i,j) allowed, i not before the next unit }

so if that is less than the weight of the units left, nothing can be completed. Equal weights are
the count of units; better ones come from a subgradient ascent on the dual of the packing problem.
"""

from __future__ import annotations

import numpy as np

from gaisnet.planner.splitting.instance import BoolArray, FloatArray

__all__ = ["Capacity", "dual_weights"]

_SLACK_TOLERANCE = 1e-9


class Capacity:
    """Slack of the certificates for every set of used devices."""

    def __init__(self, allowed: BoolArray, weights: list[FloatArray], max_segments: int) -> None:
        """Take ``allowed [N, L, L]`` segments and one or more weight vectors ``[L]``."""
        self._max_segments = max_segments
        self._gains = [_gains(allowed, weight) for weight in weights]
        self._left = [np.append(weight[::-1].cumsum()[::-1], 0.0) for weight in weights]
        self._everyone = np.ones(allowed.shape[0], dtype=bool)
        self._slack: dict[int, list[float]] = {}

    def slack(self, used: int) -> list[float]:
        """Per next unit i the smallest slack over all weights, relative to the whole model.

        Below zero: with the devices of bit mask ``used`` taken, units i.. cannot be placed.
        """
        slack = self._slack.get(used)
        if slack is None:
            slack = self._slack[used] = self._compute(used)
        return slack

    def enough(self, used: int, unit: int) -> bool:
        """May the units from ``unit`` on still fit?"""
        return self.slack(used)[unit] >= -_SLACK_TOLERANCE

    def _compute(self, used: int) -> list[float]:
        unused = self._everyone.copy()
        unused[[n for n in range(len(unused)) if used >> n & 1]] = False
        segments = self._max_segments - used.bit_count()
        slacks = [
            (_most(gains[unused], segments) - left) / max(float(left[0]), 1e-300)
            for gains, left in zip(self._gains, self._left, strict=True)
        ]
        slack: list[float] = np.min(slacks, axis=0).tolist()
        return slack


def _gains(allowed: BoolArray, weight: FloatArray) -> FloatArray:
    """``[N, L+1]`` heaviest allowed segment of device n that begins at unit i or later."""
    heaviest = _segment_weights(allowed, weight).max(axis=2)
    later = np.maximum.accumulate(heaviest[:, ::-1], axis=1)[:, ::-1]
    return np.concatenate([later, np.zeros((len(later), 1))], axis=1)


def _segment_weights(allowed: BoolArray, weight: FloatArray) -> FloatArray:
    total = np.concatenate([[0.0], np.cumsum(weight)])
    return np.where(allowed, total[None, 1:] - total[:-1, None], 0.0)


def _most(gains: FloatArray, segments: int) -> FloatArray:
    """Sum over devices, of the ``segments`` largest ones only if there are more."""
    if segments <= 0:
        return np.zeros(gains.shape[1])
    if len(gains) > segments:
        gains = np.partition(gains, len(gains) - segments, axis=0)[-segments:]
    total: FloatArray = gains.sum(axis=0)
    return total


def dual_weights(allowed: BoolArray, start: FloatArray, rounds: int) -> tuple[FloatArray, float]:
    """Weights with the smallest slack found, and that slack (negative: nothing fits at all).

    Subgradient of w(all) - sum_n max_segment w: units that the best segments cover more than once
    lose weight, uncovered ones gain.
    """
    units = allowed.shape[1]
    weight = start / start.sum()
    best, best_slack = weight, np.inf
    inside = np.zeros((units + 1,))
    for turn in range(rounds):
        flat = _segment_weights(allowed, weight).reshape(len(allowed), -1)
        chosen = flat.argmax(axis=1)
        gained = flat[np.arange(len(flat)), chosen]
        slack = float(gained.sum()) - 1.0
        if slack < best_slack:
            best, best_slack = weight, slack
        if slack < -_SLACK_TOLERANCE:
            break
        inside[:] = 0.0
        used = gained > 0
        np.add.at(inside, chosen[used] // units, 1.0)
        np.add.at(inside, chosen[used] % units + 1, -1.0)
        cover = np.cumsum(inside)[:units]
        weight = np.maximum(weight + (1.0 - cover) / (units * (turn + 2.0)), 0.0)
        weight = weight / weight.sum() if weight.sum() > 0 else start / start.sum()
    return best, best_slack
