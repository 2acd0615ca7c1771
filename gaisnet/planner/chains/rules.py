"""Side constraints of one cluster's split, and whether a chain obeys them.

They are about stages of the body: head and tail are on every owner in any case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from gaisnet.planner.chains.step import Chain, StepFigures

__all__ = ["NO_RULES", "TaskRules", "broken"]

BUDGET_TOLERANCE = 2e-9
"""Relative; twice what the searches allow themselves."""


@dataclass(frozen=True, kw_only=True)
class TaskRules:
    """What a cluster's split must respect beyond memory, links and the number of stages."""

    leaking: Mapping[int, float] = field(default_factory=dict)
    """Units after which a cut leaks too much to be made towards ``untrusted``, and how much."""
    untrusted: frozenset[str] = frozenset()
    """Holders that some other owner of the cluster does not trust."""
    barred_units: Mapping[str, int] = field(default_factory=dict)
    """So many leading units must not be on this holder (privacy tiers)."""
    forced: frozenset[str] = frozenset()
    """Holders that hold a stage."""
    together: tuple[frozenset[str], ...] = ()
    """Of each set all hold a stage, or none."""
    apart: tuple[frozenset[str], ...] = ()
    """Of each set at most one holds a stage."""
    colocated_units: tuple[tuple[int, ...], ...] = ()
    """Sets of units that are all with the owners, or all in one stage."""
    energy_budget_j: float | None = None
    """Most joules of a step of all owners of the cluster."""
    cost_budget: float | None = None
    """Most money for the busy time of such a step."""
    price_per_s: Mapping[str, float] = field(default_factory=dict)

    def splits_units(self, head: int, tail: int) -> bool:
        """Whether ends of this depth tear co-located units apart."""
        return any(
            0 < sum(head <= unit < tail for unit in units) < len(units)
            for units in self.colocated_units
        )

    def cost(self, busy_s: Mapping[str, float]) -> float:
        """Money for busy seconds."""
        return sum(self.price_per_s.get(device, 0.0) * s for device, s in sorted(busy_s.items()))


NO_RULES = TaskRules()


def broken(
    rules: TaskRules, holders: Collection[str], chain: Chain, figures: StepFigures
) -> Iterator[str]:
    """The names of the rules that a chain breaks; they are those of ``Constraints``."""
    used = {device for device, _, _ in chain.body}
    if rules.forced & set(holders) - used:
        yield "forced_devices"
    if any(0 < len(used & group) < len(group) for group in rules.together):
        yield "together_devices"
    if any(len(used & group) > 1 for group in rules.apart):
        yield "apart_devices"
    if _leaks(rules, chain):
        yield "max_leakage"
    if any(first < rules.barred_units.get(device, 0) for device, first, _ in chain.body):
        yield "privacy_tiers"
    if _torn(rules, chain):
        yield "colocated_units"
    for name, spent, limit in (
        ("step_energy_budget_j", figures.energy_j, rules.energy_budget_j),
        ("step_cost_budget", rules.cost(figures.busy_s), rules.cost_budget),
    ):
        if limit is not None and spent > limit * (1 + BUDGET_TOLERANCE):
            yield name


def _leaks(rules: TaskRules, chain: Chain) -> bool:
    cuts = [(chain.head_units - 1, chain.body[0][0])] if chain.body else []
    cuts += [(last, receiver) for (_, _, last), (receiver, _, _) in pairwise(chain.body)]
    return any(unit in rules.leaking and receiver in rules.untrusted for unit, receiver in cuts)


def _torn(rules: TaskRules, chain: Chain) -> bool:
    stages = [*chain.body, ("", 0, chain.head_units - 1)]
    place = {unit: device for device, first, last in stages for unit in range(first, last + 1)}
    return any(len({place.get(unit, "") for unit in units}) > 1 for units in rules.colocated_units)
