"""An irreducible set of constraints that cannot all hold, by a deletion filter.

A constraint is deleted if the rest conflicts without it; halves are tried before single ones
(Chinneck and Dravnieks, "Locating Minimal Infeasible Constraint Sets in Linear Programs", ORSA
Journal on Computing 3(2), 1991; halving as in Junker's QuickXplain, AAAI 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from gaisnet.errors import InfeasibleError
from gaisnet.planner.conflict.case import Case, Oracle
from gaisnet.planner.conflict.mends import Mend, smallest_mends
from gaisnet.planner.conflict.rules import Rule, rules_of
from gaisnet.planner.inputs import Inputs
from gaisnet.planner.robust import surviving_inputs
from gaisnet.schema.plan import Plan

__all__ = ["Conflict", "conflict_of", "fatal_loss", "with_conflict"]

CALLS_BY_DEVICES = 6000
MOST_DEVICES = 24
"""Of fleets whose conflict is looked for without being asked for."""
LEAST_CALLS = 60
"""Cases that are planned: so many divided by the fleet's devices, but at least so many."""

Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """Why there is no plan."""

    rules: tuple[str, ...]
    """They cannot all hold; without any one of them, and with all constraints that are not
    named lifted, there is a plan. Empty if there is none even without any constraint."""
    irreducible: bool
    """Whether that was proven for each of them: the number of cases that may be planned suffices
    for small and middling fleets."""
    mends: tuple[Mend, ...]
    """The smallest change of a single constraint after which there is a plan, all others kept; if
    that is not enough, changes that are all needed. Empty if none was found."""
    calls: int
    """Cases that were planned."""


def conflict_of(inputs: Inputs, progress: Progress | None = None) -> Conflict:
    """The conflict of a job that cannot be planned.

    Args:
        inputs: The job.
        progress: Told what is being done, and the share that is done at most.
    """
    devices = len(inputs.fleet.devices)
    oracle = Oracle(most_calls=max(LEAST_CALLS, CALLS_BY_DEVICES // devices))
    base, rules = Case(inputs=inputs), rules_of(inputs)
    search = _Filter(base, rules, oracle, progress)
    if not search.ok(()):
        return Conflict(rules=(), irreducible=True, mends=(), calls=oracle.calls)
    found = search.run()
    irreducible = not oracle.exhausted

    def next_conflict(case: Case, lifted: Collection[str]) -> list[Rule]:
        left = [rule for rule in rules if rule.name not in lifted]
        return _Filter(case, left, oracle, progress).run()

    mends = smallest_mends(base, found, oracle, next_conflict)
    return Conflict(
        rules=tuple(rule.name for rule in found),
        irreducible=irreducible,
        mends=mends,
        calls=oracle.calls,
    )


def with_conflict(
    error: InfeasibleError,
    inputs: Inputs,
    progress: Progress | None = None,
    *,
    most_devices: int | None = MOST_DEVICES,
) -> InfeasibleError:
    """The error with the conflict behind it and its smallest mend.

    Args:
        error: As the planner raised it.
        inputs: The job.
        progress: Told what is being done, and the share that is done at most.
        most_devices: Larger fleets keep the error as it is: each trial plans the whole fleet.
            None sets no limit.
    """
    large = most_devices is not None and len(inputs.fleet.devices) > most_devices
    found = None if large else conflict_of(inputs, progress)
    return InfeasibleError(
        error.message,
        where=error.where,
        hint=error.hint,
        conflict=found.rules if found else (),
        mend="; and ".join(mend.text for mend in found.mends) or None if found else None,
    )


def fatal_loss(
    plan: Plan,
    inputs: Inputs,
    progress: Progress | None = None,
    *,
    most_devices: int | None = MOST_DEVICES,
) -> InfeasibleError | None:
    """Why the first fatal loss of a plan is fatal, and what would mend it; None if none is."""
    fatal = [fallback for fallback in plan.fallbacks if not fallback.feasible]
    if not fatal:
        return None
    first = fatal[0]
    others = f" (and of {', '.join(f.lost for f in fatal[1:])})" if fatal[1:] else ""
    told = InfeasibleError(
        f"the loss of {first.lost}{others} is fatal: {first.reason}",
        hint=f"without {first.lost}: {first.mend}" if first.mend else None,
    )
    left = surviving_inputs(plan, [first.lost], inputs)
    return with_conflict(told, left, progress, most_devices=most_devices)


@dataclass
class _Filter:
    """Deletes constraints while those that are left conflict."""

    base: Case
    rules: Sequence[Rule]
    oracle: Oracle
    progress: Progress | None

    def ok(self, kept: Collection[int]) -> bool:
        """Whether there is a plan if only these constraints hold."""
        if self.progress is not None:
            done = self.oracle.calls / self.oracle.most_calls
            self.progress(f"finding the conflict, {len(kept)} constraints", done)
        case = self.base
        for index, rule in enumerate(self.rules):
            if index not in kept:
                case = rule.lift(case)
        return self.oracle.plannable(case)

    def run(self) -> list[Rule]:
        """What is left once nothing more can be deleted, in the order of the rules."""
        kept, size = list(range(len(self.rules))), max(1, len(self.rules) // 2)
        while True:
            before = len(kept)
            kept = self._without_chunks(kept, size)
            if self.oracle.exhausted or (size == 1 and len(kept) == before):
                return [self.rules[index] for index in kept]
            size = max(1, min(size // 2, len(kept) // 2))

    def _without_chunks(self, kept: list[int], size: int) -> list[int]:
        """Deletes runs of ``size`` constraints where the rest still conflicts."""
        at = 0
        while at < len(kept) and not self.oracle.exhausted:
            rest = kept[:at] + kept[at + size :]
            if rest and self.ok(rest):
                at += size
            elif rest:
                kept = rest
            else:
                return kept
        return kept
