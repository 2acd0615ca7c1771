"""The job's side constraints as rules of one cluster."""

from __future__ import annotations

from collections.abc import Sequence

from gaisnet.errors import InputError
from gaisnet.planner.chains.rules import TaskRules
from gaisnet.planner.roster import Roster

__all__ = ["task_rules"]


def task_rules(roster: Roster, owners: Sequence[str], holders: Sequence[str]) -> TaskRules:
    """Rules of the cluster of these owners, whose body these holders may hold.

    Raises:
        InputError: A unit is named that the model lacks, or leakage is limited and the profile
            has none.
    """
    limits, may_hold = roster.job.constraints, frozenset(holders)
    _check_units(roster)
    return TaskRules(
        leaking=_leaking(roster),
        untrusted=frozenset(h for h in holders if not _trusted(roster, h, owners)),
        barred_units={h: depth for h in holders if (depth := _barred(roster, h))},
        forced=may_hold & set(limits.forced_devices),
        together=tuple(may_hold & set(names) for names in limits.together_devices),
        apart=tuple(may_hold & set(names) for names in limits.apart_devices),
        colocated_units=tuple(units for units in limits.colocated_units if units),
        energy_budget_j=limits.step_energy_budget_j,
        cost_budget=limits.step_cost_budget,
        price_per_s={
            name: roster.device(name).price_per_hour / 3600.0
            for name in sorted({*owners, *holders})
        },
    )


def _check_units(roster: Roster) -> None:
    units, limits = roster.cost.n_units, roster.job.constraints
    named = [("colocated_units", max(each, default=0)) for each in limits.colocated_units]
    named += [("privacy_tiers", tier.first_units - 1) for tier in limits.privacy_tiers]
    for field, unit in named:
        if unit >= units:
            raise InputError(
                f"{field} names unit {unit}, but the model has {units}",
                where=f"constraints.{field}",
                hint=f"units are numbered 0 to {units - 1}",
            )


def _trusted(roster: Roster, holder: str, owners: Sequence[str]) -> bool:
    """Whether every other owner trusts the holder."""
    theirs = roster.device(holder).trust
    for owner in owners:
        own = roster.device(owner).trust
        if owner != holder and (own is None or theirs is None or theirs < own):
            return False
    return True


def _barred(roster: Roster, holder: str) -> int:
    """Leading units that a holder must not have."""
    device = roster.device(holder)
    depths = [
        tier.first_units
        for tier in roster.job.constraints.privacy_tiers
        if device.tier not in tier.tiers or (device.trust or 0.0) < tier.min_trust
    ]
    return max(depths, default=0)


def _leaking(roster: Roster) -> dict[int, float]:
    """Cuts that leak too much, by the unit before them."""
    limits, model = roster.job.constraints, roster.cost.model
    if limits.max_leakage is None and limits.max_distance_correlation is None:
        return {}
    if not model.leakage:
        raise InputError(
            "leakage is limited, but the profile says nothing of it",
            where="constraints.max_leakage",
            hint="measure it with `gaisnet profile MODEL --leakage --data FILE`",
        )
    leakage = {row.unit: max(0.0, 1.0 - row.inversion_error) for row in model.leakage}
    alike = {row.unit: row.distance_correlation for row in model.leakage}
    return {
        unit: leakage.get(unit, 1.0)
        for unit in range(roster.cost.n_units - 1)
        if _exceeds(leakage.get(unit, 1.0), limits.max_leakage)
        or _exceeds(alike.get(unit, 1.0), limits.max_distance_correlation)
    }


def _exceeds(value: float, limit: float | None) -> bool:
    return limit is not None and value > limit
