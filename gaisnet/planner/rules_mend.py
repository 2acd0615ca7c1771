"""Which side constraints leave a cluster without a split, and the smallest mend of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from gaisnet.errors import InfeasibleError
from gaisnet.planner.chains import SplitTask, is_splittable, split_cluster
from gaisnet.planner.chains.rules import NO_RULES, TaskRules
from gaisnet.planner.chains.split import ANY_GAP
from gaisnet.planner.cost import CostModel

__all__ = ["infeasible_rules"]

_BISECTIONS = 12
_NAMES = {
    "cost_budget": "step_cost_budget",
    "energy_budget_j": "step_energy_budget_j",
    "leaking": "max_leakage",
    "barred_units": "privacy_tiers",
    "colocated_units": "colocated_units",
    "together": "together_devices",
    "apart": "apart_devices",
    "forced": "forced_devices",
}
"""Fields of ``TaskRules`` and of the job's constraints, the easiest to loosen first."""


def infeasible_rules(cost: CostModel, task: SplitTask) -> InfeasibleError | None:
    """The error of a cluster that its side constraints leave without a split; None where it has
    none without them either.

    The constraints named are irreducible: each of them is needed for that (deletion filter).
    """
    empty = {field.name: getattr(NO_RULES, field.name) for field in fields(TaskRules)}
    active = [name for name in _NAMES if getattr(task.rules, name) != empty[name]]

    def without(names: list[str]) -> SplitTask:
        return replace(task, rules=replace(task.rules, **{name: empty[name] for name in names}))

    if not active or not is_splittable(cost, without(active)):
        return None
    kept = _irreducible(
        active,
        lambda names: is_splittable(cost, without([name for name in active if name not in names])),
    )
    hints = [_mend(cost, task, name, without([name])) for name in kept]
    said = " and ".join(_NAMES[name] for name in kept)
    return InfeasibleError(
        f"{said} {'leaves' if len(kept) == 1 else 'together leave'} no way to split the model",
        where=f"cluster {task.name}",
        hint="; or ".join(hint for hint in hints if hint) or f"loosen {said}",
    )


def _irreducible(names: list[str], is_splittable_under: Callable[[list[str]], bool]) -> list[str]:
    """Those of ``names``, which together leave no split, that are needed for that."""
    kept = list(names)
    for name in names:
        rest = [other for other in kept if other != name]
        if not is_splittable_under(rest):
            kept = rest
    return kept


def _mend(cost: CostModel, task: SplitTask, name: str, loose: SplitTask) -> str | None:
    """What loosening this one alone takes; None if that is not enough."""
    if not is_splittable(cost, loose):
        return None
    special: dict[str, Callable[[CostModel, SplitTask, SplitTask], str]] = {
        "energy_budget_j": _joules,
        "cost_budget": _money,
        "leaking": _leakage,
    }
    return special[name](cost, task, loose) if name in special else f"loosen {_NAMES[name]}"


def _joules(cost: CostModel, task: SplitTask, loose: SplitTask) -> str:
    least = split_cluster(cost, replace(loose, objective="energy", moving=None))
    need = least.figures.energy_j * (1 + 1e-5) if least else 0.0
    return f"raise step_energy_budget_j from {task.rules.energy_budget_j:.6g} to {need:.6g}"


def _money(cost: CostModel, task: SplitTask, loose: SplitTask) -> str:
    """Bisection between what is not enough and what some split costs."""
    eased = task.search.model_copy(update={"gap": ANY_GAP})
    some = split_cluster(cost, replace(loose, objective="latency", search=eased))
    low = task.rules.cost_budget or 0.0
    high = task.rules.cost(some.figures.busy_s) if some else low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        rules: Any = replace(task.rules, cost_budget=middle)
        low, high = (
            (low, middle) if is_splittable(cost, replace(task, rules=rules)) else (middle, high)
        )
    return f"raise step_cost_budget from {task.rules.cost_budget:.6g} to {high * (1 + 1e-5):.6g}"


def _leakage(cost: CostModel, task: SplitTask, loose: SplitTask) -> str:
    for level in sorted(set(task.rules.leaking.values())):
        still = {unit: leaks for unit, leaks in task.rules.leaking.items() if leaks > level}
        if is_splittable(cost, replace(task, rules=replace(task.rules, leaking=still))):
            return f"let cuts leak up to {level:.6g}, or trust more devices"
    return "loosen max_leakage"
