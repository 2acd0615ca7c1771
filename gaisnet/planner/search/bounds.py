"""What no plan of a combination undercuts, known without planning it."""

from __future__ import annotations

from typing import Any

import numpy as np

from gaisnet.planner.cost import CostModel, frozen_bytes, unit_bytes
from gaisnet.planner.roster import Roster
from gaisnet.planner.search.measures import learning_measures
from gaisnet.schema.front import Measures, Setting

__all__ = ["least_measures"]

ROUNDING = 1.0 - 1e-9
"""Sums in another order must not lift a bound above the plan that attains it."""


def least_measures(roster: Roster, setting: Setting) -> Measures:
    """A lower bound of every measure of every plan of a combination.

    Heads and tails down to the floors stay on their owners; any other unit is at best on the
    device that is best for it alone. Energy: all passes. Time: the busiest owner, and all work
    divided over all devices evenly. Memory: frozen weights once and all else once a cluster.
    Bytes: the owners' own modules, down and up. Nothing of links, queues or clusters counts.

    Args:
        roster: Of the combination's job.
        setting: The combination.
    """
    learning = learning_measures(setting)
    if roster.job.scheme != "hfsl":
        return Measures(time_s=0.0, energy_j=0.0, payload_bytes=0.0, memory_bytes=0, **learning)
    floors = _floors(roster.cost.n_units, setting)
    return Measures(
        time_s=_time_s(roster, floors) * ROUNDING,
        energy_j=_energy_j(roster, floors) * ROUNDING,
        payload_bytes=_module_bytes(roster, floors) * ROUNDING,
        memory_bytes=_memory_bytes(roster, floors, setting.clusters or 1),
        leakage=_leakage(roster, setting),
        **learning,
    )


def _floors(n_units: int, setting: Setting) -> Any:
    """``[L]`` whether a unit must be with every owner."""
    kept = np.zeros(n_units, dtype=bool)
    kept[: setting.min_head_units] = True
    if setting.topology == "u_shape":
        kept[n_units - setting.min_tail_units :] = True
    return kept


def _passes(roster: Roster) -> tuple[int, int]:
    """Passes of one owner in a round, and samples of each."""
    tuning = roster.job.fine_tuning
    return tuning.local_steps * tuning.microbatches, tuning.batch_size // tuning.microbatches


def _samples(roster: Roster) -> int:
    tuning = roster.job.fine_tuning
    return len(roster.owners) * tuning.batch_size * tuning.local_steps


def _time_s(roster: Roster, floors: Any) -> float:
    """Of one sample: see ``least_measures``. Merged batches are not bounded beyond the owners'."""
    cost, (passes, size) = roster.cost, _passes(roster)
    seconds = {d: cost.unit_s(d, size) for d in cost.devices}
    own = [float(seconds[owner.id][floors].sum()) for owner in roster.owners]
    body = np.min([each[~floors] for each in seconds.values()], axis=0).sum()
    shared = 0.0 if roster.job.fine_tuning.intra == "merge" else len(own) * float(body)
    even = (sum(own) + shared) / len(seconds)
    return passes * max(even, *own) / _samples(roster)


def _energy_j(roster: Roster, floors: Any) -> float:
    cost, (passes, size) = roster.cost, _passes(roster)
    joules = {d: cost.unit_j(d, size) for d in cost.devices}
    own = sum(float(joules[owner.id][floors].sum()) for owner in roster.owners)
    if roster.job.fine_tuning.intra != "merge":
        body = np.min([each[~floors] for each in joules.values()], axis=0).sum()
        own += len(roster.owners) * float(body)
    return passes * own / _samples(roster)


def _module_bytes(roster: Roster, floors: Any) -> float:
    cost = roster.cost
    each = sum(cost.module_bytes(int(u), int(u)) for u in np.flatnonzero(floors))
    away = sum(roster.edge_of(owner) != owner.id for owner in roster.owners)
    return 2.0 * away * each / _samples(roster)


def _memory_bytes(roster: Roster, floors: Any, clusters: int) -> int:
    cost, in_flight = roster.cost, roster.job.fine_tuning.batch_size
    total = 0
    for unit, kept in zip(cost.model.units, floors, strict=True):
        whole, frozen = unit_bytes(unit, cost.optimizer, in_flight), frozen_bytes(unit)
        copies = len(roster.owners) * whole if kept else frozen + clusters * (whole - frozen)
        total += copies
    return total


def _leakage(roster: Roster, setting: Setting) -> float | None:
    """The least that any cut below the floor gives away; nothing if the whole model may stay."""
    rows = {row.unit: 1.0 - row.inversion_error for row in roster.cost.model.leakage}
    if not rows:
        return None
    if any(_holds_all(roster.cost, owner.id, setting) for owner in roster.owners):
        return 0.0
    if setting.topology == "vanilla":
        return 1.0
    cuts = range(setting.min_head_units - 1, roster.cost.n_units - 1)
    return max(0.0, min((rows[cut] for cut in cuts if cut in rows), default=0.0))


def _holds_all(cost: CostModel, owner: str, setting: Setting) -> bool:
    size = setting.batch_size // setting.microbatches
    need = cost.stage_memory_bytes(0, cost.n_units - 1, size, setting.microbatches)
    return need.total_bytes <= cost.devices[owner].limit_bytes
