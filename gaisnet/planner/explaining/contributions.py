"""A cluster's split without one of its stage holders, or with other ends of head and tail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gaisnet.planner.chains import ClusterSplit, SplitTask, repaired, split_cluster
from gaisnet.planner.cost import CostModel
from gaisnet.schema.explanation import Contribution, RunnerUp

__all__ = ["contributions_of", "other_ends", "other_holders"]


def contributions_of(cost: CostModel, split: ClusterSplit) -> list[Contribution]:
    """What each possible holder is worth: nothing, if it holds no stage."""
    used = {device for device, _, _ in split.chain.body}
    return [
        _without(cost, split, device)
        if device in used
        else _contribution(split, device, split.value, split.gap)
        for device in split.task.holders
    ]


def _without(cost: CostModel, split: ClusterSplit, device: str) -> Contribution:
    task = without_holder(split.task, device)
    known = repaired(cost, task, split.chain, {device})
    found = split_cluster(cost, task, known)
    if found is None:
        return _contribution(split, device, None, 0.0)
    return _contribution(split, device, max(found.value, split.value), found.gap)


def without_holder(task: SplitTask, device: str) -> SplitTask:
    """The same cluster if ``device`` holds nothing for others."""
    return replace(task, holders=tuple(h for h in task.holders if h != device))


def _contribution(
    split: ClusterSplit, device: str, without: float | None, gap: float
) -> Contribution:
    return Contribution(
        cluster=split.task.name,
        device=device,
        value_with=split.value,
        value_without=without,
        gap=gap,
    )


def other_holders(split: ClusterSplit, held: Sequence[Contribution]) -> list[RunnerUp]:
    """The best split that does without one of the devices used."""
    used = {device for device, _, _ in split.chain.body}
    others = [(c.value_without, c.device) for c in held if c.device in used]
    known = [(value, device) for value, device in others if value is not None]
    if not known:
        return []
    value, device = min(known)
    return [_runner_up(split, f"without {device}", value)]


def other_ends(cost: CostModel, split: ClusterSplit) -> list[RunnerUp]:
    """The best split whose head or tail ends elsewhere."""
    ends = split.chain.head_units, split.chain.tail_first_unit
    found = split_cluster(cost, replace(split.task, other_ends=ends))
    if found is None:
        return []
    head, tail = found.chain.head_units, found.chain.tail_first_unit
    what = "owners hold everything" if head == tail else f"head [0, {head}), tail [{tail}, …)"
    return [_runner_up(split, what, found.value)]


def _runner_up(split: ClusterSplit, difference: str, value: float) -> RunnerUp:
    return RunnerUp(
        decision=f"split of cluster {split.task.name}",
        difference=difference,
        value=value,
        best=split.value,
        worse_by=value / split.value - 1.0 if split.value > 0.0 else 0.0,
    )
