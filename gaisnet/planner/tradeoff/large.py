"""Large problems whose groups may be split: relax, round, re-optimise two clusters at a time."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from gaisnet.planner.tradeoff.instance import FloatArray, IntArray
from gaisnet.planner.tradeoff.kelley import Search
from gaisnet.planner.tradeoff.master import MasterPoint

__all__ = ["improve", "round_off"]

WHOLE = 1e-3
"""How near to 0 or 1 a relaxed y must be to be kept there."""
ROUNDS = 12
"""Master programs per neighbourhood: each is followed by tangents where it was too bold."""
MOST_NEIGHBOURHOODS = 60


def round_off(search: Search, relaxed: MasterPoint) -> None:
    """Keep the groups that the relaxation serves whole, and solve for the others.

    A basic solution of the relaxation splits about as many groups as there are resources, so that
    few are left. If they do not fit, all groups are freed.
    """
    y, group = relaxed.served, search.instance.pairs.group
    split = np.unique(group[(y > WHOLE) & (y < 1.0 - WHOLE)])
    fixed = np.where(np.isin(group, split), np.nan, np.round(y))
    _solve_within(search, fixed)
    if search.best is None:
        _solve_within(search, np.full(len(group), np.nan))


def improve(search: Search) -> None:
    """Free all groups on two clusters, keep the others, solve; until nothing gains or closed.

    Pairs of clusters whose resources differ most in price come first: there a move buys most.
    """
    tried = 0
    gained = True
    while gained and search.best is not None and not search.closed:
        gained = False
        for a, b in _by_price(search):
            if search.closed or tried >= MOST_NEIGHBOURHOODS:
                return
            tried += 1
            gained |= _improve_pair(search, a, b)


def _by_price(search: Search) -> list[tuple[int, int]]:
    assert search.best is not None
    price = search.best.price.sum(axis=1)
    pairs = combinations(range(len(price)), 2)
    return sorted(pairs, key=lambda ab: (-abs(float(price[ab[0]] - price[ab[1]])), ab))


def _improve_pair(search: Search, a: int, b: int) -> bool:
    """Whether something better was found with the groups of clusters a and b anywhere on them."""
    assert search.best is not None
    before, pairs, used = search.best, search.instance.pairs, search.best.used
    here = np.isin(pairs.cluster, (a, b))
    movable = np.unique(pairs.group[used][here[used]])
    fixed = _ones(used, len(pairs))
    fixed[here & np.isin(pairs.group, movable)] = np.nan
    _solve_within(search, fixed)
    return search.best is not before


def _solve_within(search: Search, fixed: FloatArray) -> None:
    """Kelley's loop with some y fixed; the bound of the whole problem stays what it is."""
    for _ in range(ROUNDS):
        point = search.step(search.target / 2.0, fixed)
        known = search.best
        if not point.found or search.closed:
            return
        if known is not None and point.bound <= known.value * (1.0 + _sign(known.value) * 1e-4):
            return


def _sign(value: float) -> float:
    return 1.0 if value >= 0.0 else -1.0


def _ones(used: IntArray, count: int) -> FloatArray:
    fixed = np.zeros(count)
    fixed[used] = 1.0
    return fixed
