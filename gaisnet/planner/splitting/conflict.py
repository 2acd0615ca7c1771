"""Which rules make a problem infeasible, and the smallest change of one that would mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from gaisnet.errors import UnprovenError
from gaisnet.planner.splitting.instance import translate
from gaisnet.planner.splitting.problem import SplitProblem
from gaisnet.planner.splitting.solution import SplitSolution

__all__ = ["Solve", "conflict", "mends"]

Solve = Callable[..., SplitSolution]
"""``solve_instance``: handed in, because it is what asks for the explanation."""

LOOSE: dict[str, Any] = {
    "cost_budget": None,
    "energy_budget_j": None,
    "max_leakage": None,
    "privacy_tiers": (),
    "colocated_units": (),
    "together_devices": (),
    "apart_devices": (),
    "forced_devices": (),
    "forbidden_devices": (),
    "max_segments": None,
    "pin_first": 0,
    "pin_last": 0,
}
"""Each rule, and what switches it off."""
_ANY = 1e9
"""A gap that ends a search at the first chain."""


def conflict(problem: SplitProblem, solve: Solve) -> tuple[str, ...]:
    """An irreducible set of rules that no split satisfies together: each of them is needed for
    that. Empty when it is not the rules (memory, links), or the limits leave it open.

    Rules are switched off one after the other, and stay off if the rest is infeasible without
    them (the deletion filter of Chinneck and Dravnieks 1991).
    """
    active = [name for name, loose in LOOSE.items() if getattr(problem, name) != loose]
    if not _feasible(_without(problem, active), solve):
        return ()
    kept = list(active)
    for name in active:
        rest = [other for other in kept if other != name]
        off = [other for other in active if other not in rest]
        if not _feasible(_without(problem, off), solve):
            kept = rest
    return tuple(kept)


def mends(problem: SplitProblem, names: tuple[str, ...], solve: Solve) -> Iterator[str]:
    """For each rule of a conflict the smallest change that alone makes the problem feasible."""
    for name in names:
        without = _without(problem, [name])
        if not _feasible(without, solve):
            continue
        yield _MENDS.get(name, _drop)(problem, without, name, solve)


def _without(problem: SplitProblem, names: list[str]) -> SplitProblem:
    return problem.model_copy(update={name: LOOSE[name] for name in names})


def _feasible(problem: SplitProblem, solve: Solve) -> bool:
    """Whether there is a split; what the limits leave open counts as one."""
    try:
        return solve(translate(problem), "latency", gap=_ANY).status != "infeasible"
    except UnprovenError:
        return True


def _more_joules(problem: SplitProblem, without: SplitProblem, name: str, solve: Solve) -> str:
    found = solve(translate(without), "energy").value
    return f"raise energy_budget_j from {problem.energy_budget_j:.6g} to {_up(found)}"


def _more_money(problem: SplitProblem, without: SplitProblem, name: str, solve: Solve) -> str:
    """The cheapest split: its price takes the place of energy."""
    instance = translate(without)
    price = np.array([device.price_per_hour / 3600.0 for device in problem.devices])
    rows = [*range(len(price)), *([problem.owner] if instance.two_ends else [])]
    nothing = np.zeros(len(rows))
    kept = tuple(replace(each, name=f"{each.name}, kept") for each in instance.rules.allowances)
    paid = replace(
        instance,
        work_j=instance.work_s * price[rows][:, None],
        hop_j=np.zeros_like(instance.hop_j),
        entry_j=nothing,
        exit_j=nothing,
        rules=replace(instance.rules, allowances=kept),
    )
    found = solve(paid, "energy").value
    return f"raise cost_budget from {problem.cost_budget:.6g} to {_up(found)}"


def _up(value: float | None) -> str:
    """Six digits, rounded so that the change suffices."""
    return f"{(value or 0.0) * (1 + 1e-5):.6g}"


def _more_leakage(problem: SplitProblem, without: SplitProblem, name: str, solve: Solve) -> str:
    for level in sorted({1.0, *(unit.leakage for unit in problem.units)}):
        looser = problem.model_copy(update={"max_leakage": level})
        if level > (problem.max_leakage or 0.0) and _feasible(looser, solve):
            return f"raise max_leakage from {problem.max_leakage:.6g} to {level:.6g}"
    return _drop(problem, without, name, solve)


def _more_segments(problem: SplitProblem, without: SplitProblem, name: str, solve: Solve) -> str:
    """As many as there are rows at most: an owner that holds both ends has two."""
    most = len(translate(without).work_s)
    for count in range((problem.max_segments or 1) + 1, most + 1):
        if _feasible(problem.model_copy(update={"max_segments": count}), solve):
            return f"raise max_segments from {problem.max_segments} to {count}"
    return _drop(problem, without, name, solve)


def _fewer_pins(problem: SplitProblem, without: SplitProblem, name: str, solve: Solve) -> str:
    for count in range(getattr(problem, name) - 1, 0, -1):
        if _feasible(problem.model_copy(update={name: count}), solve):
            return f"lower {name} from {getattr(problem, name)} to {count}"
    return f"lower {name} to 0"


def _fewer_names(problem: SplitProblem, without: SplitProblem, name: str, solve: Solve) -> str:
    """One entry less, if that is enough."""
    entries: tuple[Any, ...] = getattr(problem, name)
    for k, entry in enumerate(entries):
        rest = (*entries[:k], *entries[k + 1 :])
        if _feasible(problem.model_copy(update={name: rest}), solve):
            return f"take {_said(entry)} out of {name}"
    return _drop(problem, without, name, solve)


def _said(entry: Any) -> str:
    if hasattr(entry, "first_units"):
        return f"the tier of the first {entry.first_units} units"
    return str(list(entry)) if isinstance(entry, tuple) else str(entry)


def _drop(problem: SplitProblem, without: SplitProblem, name: str, solve: Solve) -> str:
    return f"drop {name}"


_MENDS: dict[str, Callable[[SplitProblem, SplitProblem, str, Solve], str]] = {
    "energy_budget_j": _more_joules,
    "cost_budget": _more_money,
    "max_leakage": _more_leakage,
    "max_segments": _more_segments,
    "pin_first": _fewer_pins,
    "pin_last": _fewer_pins,
    **dict.fromkeys(
        (
            "privacy_tiers",
            "colocated_units",
            "together_devices",
            "apart_devices",
            "forced_devices",
            "forbidden_devices",
        ),
        _fewer_names,
    ),
}
