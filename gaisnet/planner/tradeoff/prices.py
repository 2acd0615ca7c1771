"""What groups and fine-tuning take of a cluster at given prices of its resources.

With prices α of compute and β of the uplink, single-homed routing falls apart:

    h_p(α, β) = min  w D + α φ + β ψ        of the shares that keep the pair's SLO
    F_c(α, β) = max  U_c(r(a, b)) - α a - β b

h is concave and F convex in the prices. All here is closed-form or a few Newton steps, for arrays
of pairs at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gaisnet.planner.tradeoff.instance import FloatArray, Instance, IntArray

__all__ = ["Demand", "Pricing"]

INNER = 4
"""Newton steps for a queue's spare rate; on ``f ** -1/2``, which is nearly linear."""
OUTER = 30
"""Most Newton steps for the weight at which a mean SLO is just kept."""
EXACT = 1e-13
"""Relative error of a mean SLO."""
TINY = 1e-300

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Of every pair or cluster of an array: its value at the prices, and what it takes of both."""

    value: FloatArray
    """h or F."""
    share: FloatArray
    """``[N, 2]``: the value's derivative, but for F's sign."""
    slope: FloatArray
    """``[N, 3]`` derivatives of shares: compute by α, compute by β (and the reverse), uplink by β;
    of a matrix that is nowhere positive."""


class Pricing:
    """The curves of one single-homed instance."""

    def __init__(self, instance: Instance) -> None:
        pairs, clusters = instance.pairs, len(instance.problem.clusters)
        self.weight = instance.weight[pairs.group]
        self._needed = np.isfinite(pairs.speed)
        self._speed = np.where(self._needed, pairs.speed, 1.0)
        self._arrivals, self._margin, self._limit = pairs.arrivals, pairs.margin, pairs.limit
        self._near, self._far = pairs.near, pairs.far
        self._utility, self._gamma, self._rounds = np.zeros(clusters), *np.ones((2, clusters))
        self._parts, self._overlapped = np.zeros((clusters, 2)), np.zeros(clusters, dtype=bool)
        for load in instance.tuning:
            at = load.cluster
            self._utility[at], self._gamma[at], self._rounds[at] = (
                load.utility,
                load.gamma,
                load.rounds,
            )
            self._parts[at], self._overlapped[at] = load.parts, load.overlapped

    def serve(self, pairs: IntArray, price: FloatArray) -> Demand:
        """h of ``pairs`` at ``price`` ``[N, 2]``, all above 0."""
        queues = _Queues(self, pairs, price)
        weight, limit = self.weight[pairs], self._limit[pairs]
        bound = queues.delay(weight) > limit
        full = weight.copy()
        full[bound] = queues.pick(bound).weight_for(limit[bound])
        spare = np.maximum(queues.spare(full), self._margin[pairs, None])
        return queues.demand(spare, full, bound, weight, self._margin[pairs])

    def tune(self, clusters: IntArray, price: FloatArray) -> Demand:
        """F of ``clusters`` at ``price`` ``[N, 2]``.

        A rate r costs ``κ r`` at least: with parts P and Q of a round's time (P + Q = 1)
        ``κ = (sqrt(α P) + sqrt(β Q))²``, or ``α P + β Q`` where computing and sending overlap.
        """
        parts, overlapped = self._parts[clusters], self._overlapped[clusters]
        both = np.sqrt(price * parts)
        cost = np.where(overlapped, (price * parts).sum(axis=1), both.sum(axis=1) ** 2)
        rate, bend = self._rate(clusters, cost)
        gradient = np.where(
            overlapped[:, None], parts, both.sum(axis=1)[:, None] * np.sqrt(parts / price)
        )
        cross = np.where(overlapped, 0.0, 0.5 * both[:, 0] * both[:, 1])
        curve = np.stack(
            [-cross / price[:, 0] ** 2, cross / price.prod(axis=1), -cross / price[:, 1] ** 2],
            axis=1,
        )
        outer = np.stack([gradient[:, 0] ** 2, gradient.prod(axis=1), gradient[:, 1] ** 2], axis=1)
        base = np.log1p(self._rounds[clusters] * rate)
        worth = -self._utility[clusters] * np.expm1(-self._gamma[clusters] * base)
        return Demand(
            value=worth - cost * rate,
            share=rate[:, None] * gradient,
            slope=bend[:, None] * outer + rate[:, None] * curve,
        )

    def _rate(self, clusters: IntArray, cost: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rate in [0, 1] whose marginal worth is its cost, and its derivative by the cost."""
        gamma, rounds = self._gamma[clusters], self._rounds[clusters]
        steepest = self._utility[clusters] * gamma * rounds
        base = (steepest / np.maximum(cost, TINY)) ** (1.0 / (gamma + 1.0))
        rate = (base - 1.0) / rounds
        inside = (rate > 0.0) & (rate < 1.0)
        bend = np.where(inside, -base / ((gamma + 1.0) * rounds * np.maximum(cost, TINY)), 0.0)
        return np.where(steepest > 0.0, np.clip(rate, 0.0, 1.0), 0.0), bend


class _Queues:
    """Both queues of some pairs at some prices."""

    def __init__(self, pricing: Pricing, pairs: IntArray, price: FloatArray) -> None:
        self.needed = pricing._needed[pairs]
        self.speed = pricing._speed[pairs]
        self.cost = price / self.speed
        self.near = np.where(self.needed, pricing._near[pairs, None], 0.0)
        self.far = np.where(self.needed, pricing._far[pairs, None], 0.0)
        self.arrivals = pricing._arrivals[pairs, None]
        self.start = np.sqrt(self.near / self.cost)

    def pick(self, which: BoolArray) -> _Queues:
        some = object.__new__(_Queues)
        for name, array in vars(self).items():
            setattr(some, name, array[which])
        return some

    def spare(self, weight: FloatArray) -> FloatArray:
        """``u = μ - λ`` with ``weight (p/u² + q/(u + λ)²) = cost``: least weighted delay + cost."""
        scale = np.sqrt(weight)[:, None]
        spare: FloatArray = self.start * scale
        aim = scale / np.sqrt(self.cost)
        for _ in range(INNER):
            safe = np.where(spare > 0.0, spare, 1.0)
            falls, bends = self._falls(safe)
            step = 2.0 * (falls - aim * falls**1.5) / np.maximum(bends, TINY)
            spare = np.where(spare > 0.0, np.maximum(safe - step, 0.1 * safe), 0.0)
        return spare

    def _falls(self, spare: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Minus the first, and the second derivative of the delay."""
        full = spare + self.arrivals
        return (
            self.near / spare**2 + self.far / full**2,
            2.0 * (self.near / spare**3 + self.far / full**3),
        )

    def delay(self, weight: FloatArray) -> FloatArray:
        """Mean sojourn in both; infinite at weight 0."""
        return self._delay(self.spare(weight))

    def _delay(self, spare: FloatArray) -> FloatArray:
        safe = np.where(spare > 0.0, spare, 1.0)
        delay = self.near / safe + self.far / (safe + self.arrivals)
        delay = np.where(self.needed & (spare <= 0.0), np.inf, delay)
        total: FloatArray = delay.sum(axis=1)
        return total

    def weight_for(self, limit: FloatArray) -> FloatArray:
        """Of delay, so that it is ``limit``: Newton's steps in logarithms."""
        weight: FloatArray = (np.sqrt(self.cost * (self.near + self.far)).sum(axis=1) / limit) ** 2
        for _ in range(OUTER):
            spare = self.spare(weight)
            delay = self._delay(spare)
            error = np.log(delay / limit)
            if len(error) == 0 or np.abs(error).max() <= EXACT:
                break
            falls, bends = self._falls(np.where(spare > 0.0, spare, 1.0))
            moved = (np.where(self.needed, falls**2 / np.maximum(bends, TINY), 0.0)).sum(axis=1)
            weight = weight * np.exp(np.clip(error * delay / moved, -3.0, 3.0))
        return weight

    def demand(
        self,
        spare: FloatArray,
        full: FloatArray,
        bound: BoolArray,
        weight: FloatArray,
        margin: FloatArray,
    ) -> Demand:
        """Shares, value and slopes where the spare rates are ``spare``."""
        share = np.where(self.needed, (spare + self.arrivals) / self.speed, 0.0)
        paid = (self.cost * np.where(self.needed, spare + self.arrivals, 0.0)).sum(axis=1)
        delay = np.where(weight > 0.0, self._delay(spare), 0.0)
        return Demand(
            value=weight * delay + paid,
            share=share,
            slope=self._slope(spare, full, bound, margin),
        )

    def _slope(
        self, spare: FloatArray, full: FloatArray, bound: BoolArray, margin: FloatArray
    ) -> FloatArray:
        """``-(e_q / m) (δ_qr - f_q f_r e_r / Σ f² e)`` of spare rates by costs, e the inverse
        second derivative; the second part only where a mean SLO binds."""
        free = self.needed & (spare > margin[:, None]) & (full[:, None] > 0.0)
        falls, bends = self._falls(np.where(free, spare, 1.0))
        ease = np.where(free, 1.0 / np.maximum(bends, TINY), 0.0)
        total = np.maximum((falls**2 * ease).sum(axis=1), TINY)
        tied = np.where(bound, 1.0 / total, 0.0)
        ease = ease / np.where(full > 0.0, full, 1.0)[:, None]
        tied = tied * np.where(full > 0.0, full, 1.0)
        pull = falls * ease / self.speed
        own = -ease / self.speed**2 + tied[:, None] * pull**2
        return np.stack([own[:, 0], tied * pull.prod(axis=1), own[:, 1]], axis=1)
