"""The smallest changes of constraints after which there is a plan: found by bisection, and so
verified by planning with it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from gaisnet.planner.conflict.case import Case, Oracle, whole_bytes
from gaisnet.planner.conflict.rules import Rule, with_clustering, with_constraints, with_service
from gaisnet.planner.mend import bytes_text
from gaisnet.schema.job import Constraints

__all__ = ["Mend", "smallest_mends"]

RESOLUTION = 1 / 128
"""A change that is smaller by this part does not mend."""
SWITCH = 1.0
"""Size of a change that has no degrees: a constraint that goes altogether."""
LAST_RESORT = 1e9
"""Of leaving a service out: any other change is smaller."""
LOOSEST_SLO = 1e6
"""Of the latency objective: the loosest that is tried, times its own."""


@dataclass(frozen=True, kw_only=True)
class Mend:
    """A change of one constraint."""

    rule: str
    text: str
    """What to do."""
    size: float
    """The change relative to what it changes: bytes to the whole model's training memory,
    numbers to what they are."""
    amount: float | None
    """Bytes to add, or the new value of the field; None if the constraint goes altogether."""
    apply: Callable[[Case], Case] = field(repr=False, compare=False)
    """The case with the change."""


def smallest_mends(
    base: Case,
    rules: Sequence[Rule],
    oracle: Oracle,
    next_conflict: Callable[[Case, Collection[str]], Sequence[Rule]],
) -> tuple[Mend, ...]:
    """The smallest change of one constraint in conflict, if one is enough.

    Else, conflict after conflict, a constraint of each is lifted until there is a plan; then each
    is changed only as much as is enough while the others are. No part of such a mend can be left
    out or made smaller; another choice of constraints might be smaller.

    Args:
        base: The job.
        rules: The conflict.
        oracle: Says whether cases can be planned.
        next_conflict: The conflict of a case, constraints of these names aside.
    """
    single = _smallest(base, rules, oracle)
    if single is not None:
        return (single,)
    chosen: list[Rule] = []
    case = base
    while rules and not oracle.exhausted:
        chosen.append(_easiest(rules))
        case = chosen[-1].lift(case)
        if oracle.plannable(case):
            return _shrunk(base, chosen, oracle)
        rules = next_conflict(case, {rule.name for rule in chosen})
    return ()


def _easiest(rules: Sequence[Rule]) -> Rule:
    """Memory can be bought; other constraints have their reasons."""
    return next((rule for rule in rules if rule.kind == "memory"), rules[0])


def _shrunk(base: Case, chosen: Sequence[Rule], oracle: Oracle) -> tuple[Mend, ...]:
    """The least change of each chosen constraint in turn; those to come are lifted meanwhile."""
    found: list[Mend] = []
    for index, rule in enumerate(chosen):
        case = base
        for mend in found:
            case = mend.apply(case)
        for later in chosen[index + 1 :]:
            case = later.lift(case)
        if not oracle.plannable(case):
            found += _mends(case, rule, oracle, None)
    return tuple(found)


def _smallest(base: Case, rules: Sequence[Rule], oracle: Oracle) -> Mend | None:
    best: Mend | None = None
    for rule in rules:
        if oracle.exhausted:
            break
        if not oracle.plannable(rule.lift(base)):
            continue
        for mend in _mends(base, rule, oracle, best):
            if best is None or mend.size < best.size:
                best = mend
    return best


def _mends(base: Case, rule: Rule, oracle: Oracle, best: Mend | None) -> Iterator[Mend]:
    """The least change of one constraint, if it can beat ``best``."""
    if rule.kind == "memory":
        yield from _memory(base, rule, oracle, best)
    elif rule.kind == "slo":
        yield from _slo(base, rule, oracle, best)
    elif rule.kind == "constraint":
        yield from _constraint(base, rule, oracle)
    elif rule.kind == "clustering":
        yield from _clustering(base, rule, oracle)
    else:
        size = LAST_RESORT if rule.kind == "service" else SWITCH
        yield _off(rule, _switched(rule), size)


def _off(rule: Rule, text: str, size: float) -> Mend:
    return Mend(rule=rule.name, text=text, size=size, amount=None, apply=rule.lift)


def _switched(rule: Rule) -> str:
    return {
        "links": f"link {rule.subject} both ways with the devices that it lacks",
        "privacy": f"give {rule.subject} privacy `shared`",
        "service": f"leave service {rule.subject} out",
        "listed": f"take {rule.name.partition(': ')[2]} out of constraints.{rule.subject}",
    }.get(rule.kind, f"leave {rule.name} out")


def _memory(base: Case, rule: Rule, oracle: Oracle, best: Mend | None) -> Iterator[Mend]:
    device, most = rule.subject, whole_bytes(base.inputs)
    whole = base.roster().cost.stage_memory_bytes(
        0, len(base.inputs.model.units) - 1, base.inputs.job.fine_tuning.batch_size
    )

    def enough(extra: int) -> bool:
        return oracle.plannable(_roomier(device, extra, base))

    if best is not None:
        most = min(most, int(best.size * whole.total_bytes))
        if not enough(most):
            return
    extra = _least(enough, most, oracle)
    yield Mend(
        rule=rule.name,
        text=f"give {device} {bytes_text(extra)} more memory",
        size=extra / max(1, whole.total_bytes),
        amount=float(extra),
        apply=partial(_roomier, device, extra),
    )


def _roomier(device: str, extra: int, case: Case) -> Case:
    return replace(case, extra_bytes={**case.extra_bytes, device: extra})


def _least(enough: Callable[[int], bool], most: int, oracle: Oracle) -> int:
    """Least number that is enough, to ``RESOLUTION`` of itself, from below ``most``, which is."""
    low, high = 0, most
    while high - low > max(1, int(high * RESOLUTION)) and not oracle.exhausted:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def _slo(base: Case, rule: Rule, oracle: Oracle, best: Mend | None) -> Iterator[Mend]:
    asked = next(s.slo_s for s in base.inputs.job.services if s.id == rule.subject)
    assert asked is not None, "a rule of a latency objective has one"

    def enough(slo_s: float) -> bool:
        return oracle.plannable(with_service(base, rule.subject, {"slo_s": slo_s}))

    low, high = asked, asked * (LOOSEST_SLO if best is None else min(LOOSEST_SLO, 1 + best.size))
    if not enough(high):
        return
    while high > low * (1.0 + RESOLUTION) and not oracle.exhausted:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    yield Mend(
        rule=rule.name,
        text=f"let services[{rule.subject}].slo_s be {high:.4g}",
        size=high / asked - 1.0,
        amount=high,
        apply=partial(with_service, name=rule.subject, changes={"slo_s": high}),
    )


def _constraint(base: Case, rule: Rule, oracle: Oracle) -> Iterator[Mend]:
    """A number of ``constraints`` changed towards its default as little as is enough."""
    name = rule.subject
    value = getattr(base.inputs.job.constraints, name)
    default = Constraints.model_fields[name].get_default(call_default_factory=True)

    def enough(changed: Any) -> bool:
        return oracle.plannable(with_constraints(base, {name: changed}))

    if isinstance(value, bool) or not isinstance(value, int | float):
        yield _off(rule, f"leave {rule.name} out", SWITCH)
        return
    if isinstance(value, int):
        goal = default if isinstance(default, int) else len(base.inputs.model.units)
        found = float(_nearest_count(enough, value, max(goal, value) if default is None else goal))
    else:
        goal_s = float(default) if isinstance(default, int | float) else 1e6 * max(value, 1e-12)
        found = _nearest(enough, value, goal_s, oracle)
    size = abs(found - value) / abs(value) if value else SWITCH
    text = f"let constraints.{name} be {found:.6g}"
    changed = {name: int(found) if isinstance(value, int) else found}
    apply = partial(with_constraints, changes=changed)
    yield Mend(rule=rule.name, text=text, size=size, amount=found, apply=apply)


def _nearest_count(enough: Callable[[int], bool], value: int, goal: int) -> int:
    """The whole number nearest to ``value``, on the way to ``goal``, that is enough."""
    near, far = value, goal
    while abs(far - near) > 1:
        middle = (near + far) // 2
        near, far = (near, middle) if enough(middle) else (middle, far)
    return far


def _nearest(enough: Callable[[float], bool], value: float, goal: float, oracle: Oracle) -> float:
    """The same for figures, to ``RESOLUTION`` of the change."""
    near, far = value, goal
    while abs(far - near) > RESOLUTION * abs(far - value) and not oracle.exhausted:
        middle = (near + far) / 2.0
        near, far = (near, middle) if enough(middle) else (middle, far)
    return far


def _clustering(base: Case, rule: Rule, oracle: Oracle) -> Iterator[Mend]:
    """The nearest number that is enough; all are tried, since more is not always harder."""
    value = getattr(base.inputs.job.clustering, rule.subject)
    most = len(base.inputs.fleet.devices)
    others = sorted(set(range(1, most + 1)) - {value}, key=lambda n: (abs(n - value), n))
    for other in others:
        if oracle.exhausted:
            return
        if oracle.plannable(with_clustering(base, {rule.subject: other})):
            yield Mend(
                rule=rule.name,
                text=f"let clustering.{rule.subject} be {other}",
                size=abs(other - value) / value,
                amount=float(other),
                apply=partial(with_clustering, changes={rule.subject: other}),
            )
            return
