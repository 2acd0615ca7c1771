"""What a request takes at a device or link, as a function of the share that its service has there.

Every service has queues of its own, and its requests are alike: Poisson arrivals λ and constant
services, served μ times a second in the share that it has. All curves are convex and fall in μ:
products of positive, falling, convex functions are so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Curve", "inverse", "service", "tail", "wait"]


BISECTIONS = 40


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A convex function of μ that falls, with its slope; finite above ``least``."""

    value: Callable[[float], float]
    slope: Callable[[float], float]
    least: float = 0.0

    def scaled(self, factor: float) -> Curve:
        """``factor`` times the curve."""
        return Curve(
            value=lambda mu: factor * self.value(mu),
            slope=lambda mu: factor * self.slope(mu),
            least=self.least,
        )

    def reaches(self, height: float, most: float) -> float:
        """The μ at which the curve has come down to ``height`` (to 1e-12 of ``most``, from
        below); ``most`` if it is higher there."""
        low, high = self.least, most
        if high <= low or self.value(high) > height:
            return most
        for _ in range(BISECTIONS):
            middle = (low + high) / 2.0
            if middle > self.least and self.value(middle) <= height:
                high = middle
            else:
                low = middle
        return max(low, self.least * (1.0 + 1e-9))


def inverse() -> Curve:
    """``1 / μ``."""
    return Curve(value=lambda mu: 1.0 / mu, slope=lambda mu: -1.0 / mu / mu)


def service() -> Curve:
    """Time in service."""
    return inverse()


def wait(arrivals: float, burst: float) -> Curve:
    """Mean wait: Pollaczek and Khinchine's ``λ / (2 μ (μ - λ))`` for constant services.

    Args:
        arrivals: λ.
        burst: Factor of requests that come by several times (``Visit.burst``).
    """
    scale = burst * arrivals / 2.0

    def slope(mu: float) -> float:
        product = mu * (mu - arrivals)
        return -scale * (2.0 * mu - arrivals) / product / product

    return Curve(value=lambda mu: scale / (mu * (mu - arrivals)), slope=slope, least=arrivals)


def tail(arrivals: float, burst: float, epsilon: float) -> Curve:
    """Wait that is exceeded with probability ``epsilon``.

    With the tail ``P(W > t) = ρ exp(-ρ t / E[W])``, which has the right mean and the right
    probability of not waiting: ``ln(ρ / ε) / (2 (μ - λ))``, and 0 where ρ <= ε.
    """

    def factor(mu: float) -> float:
        return max(0.0, math.log(arrivals / (mu * epsilon)))

    def value(mu: float) -> float:
        return burst * factor(mu) / (2.0 * (mu - arrivals))

    def slope(mu: float) -> float:
        if factor(mu) == 0.0:
            return 0.0
        spare = mu - arrivals
        return -burst / (2.0 * spare) * (factor(mu) / spare + 1.0 / mu)

    return Curve(value=value, slope=slope, least=arrivals)
