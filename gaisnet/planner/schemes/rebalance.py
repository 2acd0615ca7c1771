"""Divides a server's memory by need where equal parts leave some cluster without a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gaisnet.planner.chains import SplitTask, is_splittable
from gaisnet.planner.cost import CostModel
from gaisnet.planner.schemes.drafts import Draft

__all__ = ["rebalance"]

STEPS = 9
"""Of bisection: needs are found to 1/512 of the server's memory."""


def rebalance(cost: CostModel, drafts: Sequence[Draft]) -> list[Draft]:
    """Drafts in which every cluster has what it needs of each shared server, if that is possible.

    What is left is divided equally. Where needs are larger than the memory nothing changes.
    """
    tasks = [draft.task for draft in drafts]
    for server in sorted({h for t in tasks for h in t.holders if h not in t.owners}):
        users = [k for k, task in enumerate(tasks) if server in task.holders]
        total = sum(tasks[k].limit_bytes[server] for k in users)
        needs = [_least_bytes(cost, tasks[k], server, total) for k in users]
        spare = (total - sum(needs)) // len(users)
        if spare < 0:
            continue
        for k, need in zip(users, needs, strict=True):
            tasks[k] = _with(tasks[k], server, need + spare)
    return [replace(draft, task=task) for draft, task in zip(drafts, tasks, strict=True)]


def _least_bytes(cost: CostModel, task: SplitTask, server: str, total: int) -> int:
    """Least memory on ``server`` with which the cluster has a split; 0 if none is enough."""
    if not is_splittable(cost, _with(task, server, total)):
        return 0
    low, high = -1, total
    for _ in range(STEPS):
        middle = (low + high) // 2
        if high - low > 1 and is_splittable(cost, _with(task, server, middle)):
            high = middle
        else:
            low = middle
    return high


def _with(task: SplitTask, server: str, limit_bytes: int) -> SplitTask:
    return replace(task, limit_bytes={**task.limit_bytes, server: limit_bytes})
