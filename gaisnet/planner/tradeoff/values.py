"""What a cluster is worth that serves some groups, as a minimum over two prices.

    V_c(y) = min_{0 <= α, β <= M}  α + β + F_c(α, β) - Σ_p y_p h_p(α, β)

For whole y this is the convex program of the shares, by strong duality, with further resources to
be had at the price M; for fractional y it is the perspective relaxation. Any prices give an upper
bound that is linear in y: a cut (Benders, Geoffrion).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaisnet.planner.tradeoff.instance import FloatArray, Instance, IntArray
from gaisnet.planner.tradeoff.prices import Demand, Pricing

__all__ = ["Batch", "ClusterValues", "Valued", "price_of_lack"]

STEPS = 80
"""Most Newton steps."""
CLOSE = 1e-10
"""Of the instance's size: what a Newton step must promise."""
LOWEST = 1e-13
DEAREST = 1e4
"""Prices, of the instance's size; the dearest buys resources that are not there."""
HALVINGS = 12
FURTHEST = 3.0
"""Most that the logarithm of a price moves in one step."""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Supports to value: row i is cluster ``cluster[i]`` with the pairs p whose ``row`` is i."""

    cluster: IntArray
    row: IntArray
    pair: IntArray
    part: FloatArray
    """y"""


@dataclass(frozen=True, kw_only=True)
class Valued:
    """Of each row of a batch."""

    value: FloatArray
    """An upper bound always; the value itself where the row was not given up."""
    price: FloatArray
    """``[N, 2]``"""
    over: FloatArray
    """Resources bought that are not there: what is taken above 1."""


@dataclass(kw_only=True)
class _State:
    price: FloatArray
    value: FloatArray
    excess: FloatArray
    slope: FloatArray


def price_of_lack(instance: Instance) -> float:
    """What a whole resource costs that is not there."""
    return DEAREST * instance.size


class ClusterValues:
    """Valuation of supports of one instance."""

    def __init__(self, instance: Instance) -> None:
        self.pricing = Pricing(instance)
        self.pairs = instance.pairs
        self.size = instance.size
        self._close = CLOSE * instance.size

    def value(
        self, batch: Batch, start: FloatArray | None = None, needed: FloatArray | None = None
    ) -> Valued:
        """Values of all rows.

        Args:
            start: ``[N, 2]`` prices to begin with.
            needed: ``[N / 2]``: rows i and i + N / 2 are given up once their values, which only
                fall, add up to less.
        """
        count = len(batch.cluster)
        first = np.full((count, 2), 0.1 * self.size) if start is None else start
        state = self._look(batch, np.clip(first, LOWEST * self.size, DEAREST * self.size))
        awake = np.arange(count)
        for _ in range(STEPS):
            move, promise = self._direction(state, awake)
            still = promise > self._close
            if needed is not None:
                hopeful = state.value[: count // 2] + state.value[count // 2 :] > needed
                still &= np.tile(hopeful, 2)[awake]
            awake, move = awake[still], move[still]
            if len(awake) == 0:
                break
            awake = self._step(batch, state, awake, move)
        over = np.where(state.price >= 0.99 * DEAREST * self.size, state.excess, 0.0)
        return Valued(value=state.value, price=state.price, over=over.max(axis=1, initial=0.0))

    def _look(self, batch: Batch, price: FloatArray) -> _State:
        """Value, shares taken above 1, and the Hessian at prices."""
        count = len(batch.cluster)
        served = self.pricing.serve(batch.pair, price[batch.row])
        tuned: Demand = self.pricing.tune(batch.cluster, price)

        def total(amount: FloatArray) -> FloatArray:
            sums = np.bincount(batch.row, batch.part * amount, minlength=count)
            return np.asarray(sums, dtype=np.float64)

        def columns(amounts: FloatArray) -> FloatArray:
            return np.stack([total(amounts[:, i]) for i in range(amounts.shape[1])], axis=1)

        return _State(
            price=price,
            value=price.sum(axis=1) + tuned.value - total(served.value),
            excess=tuned.share + columns(served.share) - 1.0,
            slope=-(tuned.slope + columns(served.slope)),
        )

    def _direction(self, state: _State, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Newton's step in the prices' logarithms, and what it should gain.

        The Hessian there has ``-price · excess`` on its diagonal as well, which is kept where it is
        positive. Prices at an end stay there if they pull outwards.
        """
        price, excess = state.price[rows], state.excess[rows]
        pull = price * excess
        low, high = LOWEST * self.size * 1.01, DEAREST * self.size * 0.99
        stuck = ((price <= low) & (excess < 0.0)) | ((price >= high) & (excess > 0.0))
        pull = np.where(stuck, 0.0, pull)
        a, b, d = (state.slope[rows] * np.stack(_products(price), axis=1)).T
        a = a + np.maximum(-pull[:, 0], 0.0) + 1e-14 * self.size
        d = d + np.maximum(-pull[:, 1], 0.0) + 1e-14 * self.size
        b = np.where(stuck.any(axis=1), 0.0, b)
        det = np.maximum(a * d - b * b, 1e-12 * a * d)
        move = np.stack(
            [(d * pull[:, 0] - b * pull[:, 1]) / det, (a * pull[:, 1] - b * pull[:, 0]) / det],
            axis=1,
        )
        promise = (move * pull).sum(axis=1)
        far = np.maximum(np.abs(move).max(axis=1) / FURTHEST, 1.0)
        return move / far[:, None], promise / far

    def _step(self, batch: Batch, state: _State, rows: IntArray, move: FloatArray) -> IntArray:
        """Move ``rows``, each as far as its value falls; those that moved."""
        factor, moved = np.ones(len(rows)), np.zeros(len(rows), dtype=bool)
        for _ in range(HALVINGS):
            left = np.flatnonzero(~moved)
            if len(left) == 0:
                break
            at = rows[left]
            wanted = state.price[at] * np.exp(factor[left, None] * move[left])
            wanted = np.clip(wanted, LOWEST * self.size, DEAREST * self.size)
            new = self._look(_rows(batch, at), wanted)
            good = new.value < state.value[at]
            for name in ("price", "value", "excess", "slope"):
                getattr(state, name)[at[good]] = getattr(new, name)[good]
            moved[left[good]] = True
            factor[left] *= 0.4
        return rows[moved]


def _products(price: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    return price[:, 0] ** 2, price.prod(axis=1), price[:, 1] ** 2


def _rows(batch: Batch, rows: IntArray) -> Batch:
    """Some rows of a batch, in their order."""
    if len(rows) == len(batch.cluster):
        return batch
    place = np.full(len(batch.cluster), -1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    kept = place[batch.row] >= 0
    return Batch(
        cluster=batch.cluster[rows],
        row=place[batch.row[kept]],
        pair=batch.pair[kept],
        part=batch.part[kept],
    )
