"""Why a cluster cannot be split, and the smallest change that would mend it."""

from __future__ import annotations

import math
from collections.abc import Callable

from gaisnet.errors import InfeasibleError
from gaisnet.planner.chains import SplitTask, is_splittable
from gaisnet.planner.chains.depths import depths
from gaisnet.planner.chains.tables import make_body
from gaisnet.planner.cost import CostModel
from gaisnet.planner.rules_mend import infeasible_rules

__all__ = ["bytes_text", "infeasible_split", "least"]

MOST_TRIED = 8
"""Devices whose memory is tried: those with most of it."""
RESOLUTION = 1024


def bytes_text(count: float) -> str:
    """Bytes for people: ``1.3 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024.0:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024.0
    return f"{count:.1f} GiB"


def infeasible_split(cost: CostModel, task: SplitTask) -> InfeasibleError:
    """The error of a cluster that has no split: what binds, and what would mend it."""
    return (
        infeasible_rules(cost, task)
        or _owners_too_small(cost, task)
        or _short_of_memory(cost, task)
        or _not_linked(cost, task)
    )


def _owners_too_small(cost: CostModel, task: SplitTask) -> InfeasibleError | None:
    """No depth of head and tail fits into every owner."""
    body, pairs = make_body(cost, task), depths(cost.n_units, task)
    if not pairs:
        return InfeasibleError(
            "no device may hold the body of the model",
            where=f"cluster {task.name}",
            hint="take devices out of constraints.forbidden_devices, or give one privacy `shared`",
        )
    needs = {pair: body.owner_need(*pair) for pair in pairs}
    head, tail = min(needs, key=lambda pair: needs[pair])
    smallest = min(task.owners, key=lambda owner: task.limit_bytes[owner])
    need, has = needs[head, tail], task.limit_bytes[smallest]
    if need <= has:
        return None
    what = "the whole model" if head == tail else f"head [0, {head}) and tail [{tail}, ...)"
    return InfeasibleError(
        f"owner {smallest} has {bytes_text(has)} for {what}, {bytes_text(need)} are needed",
        where=f"cluster {task.name}",
        hint=f"give {smallest} {bytes_text(need - has)} more, or a smaller batch_size",
    )


def _short_of_memory(cost: CostModel, task: SplitTask) -> InfeasibleError | None:
    """The least memory that, added to one device, makes the cluster feasible."""
    total = cost.stage_memory_bytes(0, cost.n_units - 1, task.merged * task.batch_size).total_bytes
    by_size = sorted({*task.holders, *task.owners}, key=lambda d: -task.limit_bytes[d])
    mends = {}
    for device in by_size[:MOST_TRIED]:
        missing = _missing_bytes(cost, task, device, total)
        if missing is not None:
            mends[device] = missing
    if not mends:
        return None
    device = min(mends, key=lambda d: mends[d])
    return InfeasibleError(
        "its devices cannot hold the model together",
        where=f"cluster {task.name}",
        hint=f"needs {bytes_text(mends[device])} more on some device of cluster {task.name}, "
        f"e.g. {device}; or fewer clusters, or a smaller batch_size",
    )


def _missing_bytes(cost: CostModel, task: SplitTask, device: str, total: int) -> int | None:
    """Least bytes that mend the cluster on ``device``; None if none do.

    First what memory alone asks for; only if that is not enough are splits searched for.
    """
    body, pairs, has = make_body(cost, task), depths(cost.n_units, task), task.limit_bytes[device]

    def may_fit(extra_bytes: int) -> bool:
        return any(map(body.with_limit(device, has + extra_bytes).may_fit, pairs))

    def splits(extra_bytes: int) -> bool:
        return is_splittable(cost, body.with_limit(device, has + extra_bytes).task)

    fitting = least(may_fit, 2 * total)
    if fitting is None or splits(fitting):
        return fitting
    return least(splits, 2 * total)


def least(enough: Callable[[int], bool], most: int) -> int | None:
    """Least number up to ``most`` that is enough, to one part in 1024; None if none is."""
    if enough(0):
        return 0
    if not enough(most):
        return None
    low, high = 0, most
    while high - low > max(1, most // RESOLUTION):
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def _not_linked(cost: CostModel, task: SplitTask) -> InfeasibleError:
    """Memory is there, so links are missing."""
    lonely = [
        owner
        for owner in task.owners
        if not any(math.isfinite(_there_and_back(cost, owner, h)) for h in task.holders)
    ]
    who = f"owner {lonely[0]} has" if lonely else "its devices have"
    return InfeasibleError(
        f"{who} no links to devices that could hold the body between them",
        where=f"cluster {task.name}",
        hint=f"link every owner both ways with one of {', '.join(task.holders)}",
    )


def _there_and_back(cost: CostModel, a: str, b: str) -> float:
    return cost.transfer_s(a, b, 1) + cost.transfer_s(b, a, 1)
