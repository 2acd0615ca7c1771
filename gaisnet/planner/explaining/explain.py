"""``explain``: what binds a plan, what nearly was chosen, what devices and upgrades are worth."""

from __future__ import annotations

from collections.abc import Callable

from gaisnet.planner.explaining.binding import bindings
from gaisnet.planner.explaining.changes import FACTOR, Changed, changed_rules, upgrades_of
from gaisnet.planner.explaining.contributions import contributions_of, other_ends, other_holders
from gaisnet.planner.roster import Roster
from gaisnet.planner.schemes import Choice
from gaisnet.schema.explanation import Binding, Contribution, Explanation, RunnerUp, Upgrade
from gaisnet.schema.plan import Plan

__all__ = ["explain"]

MOST_UPGRADES = 20
Progress = Callable[[str, float | None], None]


def explain(
    plan: Plan,
    roster: Roster,
    choice: Choice,
    *,
    complete: bool = False,
    progress: Progress | None = None,
) -> Explanation:
    """Why ``plan`` is as it is.

    What binds it and which numbers of clusters came next is read off. ``complete`` adds what has
    to be solved again: each cluster's split without each of its stage holders, with other ends of
    head and tail, and with a quarter more of each device's memory and speed and each link's
    bandwidth, warm-started. That is up to three solves per device and cluster: seconds to minutes
    where one split takes long.

    Args:
        plan: The plan.
        roster: Its fleet and job.
        choice: Its clusters with the problems whose splits they are.
        complete: Whether to solve again.
        progress: Told which cluster is being explained, and the share that is done.
    """
    tight = bindings(plan, roster)
    numbers = _sorted_runner_ups(choice.runner_ups)
    if not complete:
        return Explanation(factor=FACTOR, binding=tight, runner_ups=numbers)
    upgrades: list[Changed] = []
    contributions: list[Contribution] = []
    runner_ups, rules = [*choice.runner_ups], list[Binding]()
    for index, split in enumerate(choice.splits):
        if progress is not None:
            progress(f"explaining cluster {split.task.name}", index / len(choice.splits))
        upgrades += upgrades_of(roster.cost, split)
        rules += changed_rules(roster, split)
        held = contributions_of(roster.cost, split)
        contributions += held
        runner_ups += [*other_holders(split, held), *other_ends(roster.cost, split)]
    return Explanation(
        complete=True,
        factor=FACTOR,
        binding=(*rules, *_with_gains(plan, roster, tight, upgrades)),
        runner_ups=_sorted_runner_ups(runner_ups),
        contributions=tuple(contributions),
        upgrades=_most_gained(upgrades),
    )


def _with_gains(
    plan: Plan, roster: Roster, tight: tuple[Binding, ...], upgrades: list[Changed]
) -> list[Binding]:
    """What binds with its gain; also memories that are not full, but of which more would help."""
    told = {each.where for each in tight if each.kind == "memory"}
    helps = sorted(
        {u.where for u in upgrades if u.kind == "memory" and u.gain > u.gap + 1e-9} - told
    )
    used = {device.device: device.memory_bytes for device in plan.predictions.devices}
    more = [
        Binding(
            kind="memory",
            where=device,
            used=float(used.get(device, 0)),
            limit=float(roster.cost.devices[device].limit_bytes),
        )
        for device in helps
    ]
    found = [_with_gain(each, upgrades) for each in (*tight, *more)]
    return sorted(found, key=lambda each: -(each.gain or 0.0))


def _with_gain(binding: Binding, upgrades: list[Changed]) -> Binding:
    kinds = {"memory": "memory", "compute": "speed", "link": "bandwidth"}
    gains = [
        found.gain
        for found in upgrades
        if (found.kind, found.where) == (kinds.get(binding.kind), binding.where)
        and binding.cluster in (None, found.cluster)
    ]
    return binding.model_copy(update={"gain": max(gains)}) if gains else binding


def _most_gained(upgrades: list[Changed]) -> tuple[Upgrade, ...]:
    gained = [each for each in upgrades if each.gain > each.gap + 1e-9]
    best = sorted(gained, key=lambda each: (-each.gain, each.cluster, each.kind, each.where))
    return tuple(each.upgrade() for each in best[:MOST_UPGRADES])


def _sorted_runner_ups(found: list[RunnerUp] | tuple[RunnerUp, ...]) -> tuple[RunnerUp, ...]:
    return tuple(sorted(found, key=lambda each: (each.worse_by, each.decision, each.difference)))
