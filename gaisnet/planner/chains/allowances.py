"""A cluster's side constraints as the searches between two ends see them: rows and sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gaisnet.planner.splitting.rules import Allowance, SideRules, segment_sums

if TYPE_CHECKING:
    from gaisnet.planner.chains.body import Body

__all__ = ["inner_rules", "permitted_segments"]

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def inner_rules(body: Body, head: int, tail: int) -> SideRules | None:
    """Rules on the chain between two ends; None if the ends alone spend too much.

    Row N stands for the owners and is never used. A step is ``turns`` times ``microbatches``
    equal passes of the body, so that limits are divided by that, less what the owners spend.
    """
    rules, rows = body.task.rules, {name: n for n, name in enumerate(body.holders)}
    allowances = []
    if rules.energy_budget_j is not None:
        allowances.append(_energy(body, head, tail, rules.energy_budget_j))
    if rules.cost_budget is not None:
        allowances.append(_money(body, head, tail, rules.cost_budget))
    if any(each.limit < 0.0 for each in allowances):
        return None

    def known(names: frozenset[str]) -> tuple[int, ...]:
        return tuple(sorted(rows[name] for name in names if name in rows))

    return SideRules(
        forced=known(rules.forced),
        together=tuple(known(names) for names in rules.together if known(names)),
        apart=tuple(known(names) for names in rules.apart if known(names)),
        allowances=tuple(allowances),
    )


def _energy(body: Body, head: int, tail: int, limit_j: float) -> Allowance:
    segment = segment_sums(_padded(body.work_j[:, head:tail]))
    segment[:-1, 0, :] += body.entry.energy_j[head][:, None]
    segment[:-1, :, -1] += body.leave.energy_j[tail][:, None]
    hops = body.hop_j[:, :, head : tail - 1]
    return Allowance(
        name="step_energy_budget_j",
        segment=segment,
        cut=np.pad(hops, ((0, 1), (0, 1), (0, 0))),
        limit=limit_j / (body.task.turns * body.task.microbatches),
    )


def _money(body: Body, head: int, tail: int, limit: float) -> Allowance:
    task, prices = body.task, body.task.rules.price_per_s
    price = np.array([*(prices.get(holder, 0.0) for holder in body.holders), 0.0])
    own_s = body.busy_s(head, tail)
    own = sum(prices.get(o, 0.0) * float(s) for o, s in zip(task.owners, own_s, strict=True))
    count = len(price)
    return Allowance(
        name="step_cost_budget",
        segment=segment_sums(_padded(body.work_s[:, head:tail])) * price[:, None, None],
        cut=np.zeros((count, count, tail - head - 1)),
        limit=(limit / task.microbatches - own) / task.turns,
    )


def _padded(values: FloatArray) -> FloatArray:
    padded: FloatArray = np.pad(values, ((0, 1), (0, 0)))
    return padded


def permitted_segments(body: Body, head: int, tail: int) -> BoolArray:
    """``[N, U, U]`` segments that hold no barred unit and tear no co-located ones apart."""
    rules, count = body.task.rules, tail - head
    first, last = head + np.arange(count)[:, None], head + np.arange(count)[None, :]
    whole = np.ones((count, count), dtype=bool)
    for units in rules.colocated_units:
        inside = sum(((first <= unit) & (unit <= last)).astype(int) for unit in set(units))
        whole &= (inside == 0) | (inside == len(set(units)))
    barred = np.array([rules.barred_units.get(holder, 0) for holder in body.holders])
    permitted: BoolArray = whole[None] & (first[None] >= barred[:, None, None])
    return permitted
