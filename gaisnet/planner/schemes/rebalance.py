"""Divides a server's memory by need where equal parts leave some cluster without a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gaisnet.planner.chains.body import Body
from gaisnet.planner.chains.depths import depths
from gaisnet.planner.chains.tables import make_body
from gaisnet.planner.cost import CostModel
from gaisnet.planner.mend import least
from gaisnet.planner.schemes.drafts import Draft

__all__ = ["rebalance"]


def rebalance(cost: CostModel, drafts: Sequence[Draft]) -> list[Draft]:
    """Drafts in which every cluster has what it needs of each shared server, if that is possible.

    Needs are where units and memory just fit, whatever the links. What is left is divided
    equally. Where needs are larger than the memory nothing changes.
    """
    bodies = [make_body(cost, draft.task) for draft in drafts]
    for server in sorted({h for b in bodies for h in b.holders if h not in b.task.owners}):
        users = [k for k, body in enumerate(bodies) if server in body.holders]
        total = sum(bodies[k].task.limit_bytes[server] for k in users)
        needs = [_least_bytes(cost, bodies[k], server, total) for k in users]
        spare = (total - sum(needs)) // len(users)
        if spare < 0:
            continue
        for k, need in zip(users, needs, strict=True):
            bodies[k] = bodies[k].with_limit(server, need + spare)
    return [replace(draft, task=body.task) for draft, body in zip(drafts, bodies, strict=True)]


def _least_bytes(cost: CostModel, body: Body, server: str, total: int) -> int:
    """Least memory on ``server`` with which the cluster may fit; 0 if none is enough."""
    pairs = depths(cost.n_units, body.task)

    def fits(limit_bytes: int) -> bool:
        return any(map(body.with_limit(server, limit_bytes).may_fit, pairs))

    return least(fits, total) or 0
