"""Seconds and joules of one local step of a cluster, given who holds what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gaisnet.planner.chains.hops import NO_HOP, Hop, entry_hop, exit_hop, stage_hop
from gaisnet.planner.cost import CostModel
from gaisnet.schema.job import Intra, Objective

__all__ = ["Chain", "StepFigures", "owner_hops", "step_figures"]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Who holds what in a cluster; the names are those of ``ClusterPlan``."""

    owners: tuple[str, ...]
    head_units: int
    tail_first_unit: int
    body: tuple[tuple[str, int, int], ...]
    """``(device, first_unit, last_unit)`` in order."""
    intra: Intra
    microbatches: int
    batch_size: int
    """Samples of one owner in one step."""

    @property
    def microbatch_size(self) -> int:
        """Samples of one owner in one pass."""
        return self.batch_size // self.microbatches

    @property
    def merged(self) -> int:
        """Owners whose samples the body works on at once."""
        return len(self.owners) if self.intra == "merge" else 1


@dataclass(frozen=True, kw_only=True)
class StepFigures:
    """One local step of all owners of a cluster."""

    latency_s: float
    """Mean over turns of one sequential pass, forward and backward, of a micro-batch."""
    period_s: float
    """Mean over turns of the longest stage: a device's busy time, or a cut both ways."""
    makespan_s: float
    """Sum over turns of ``latency + (M - 1) · period``; merged owners have one turn."""
    energy_j: float
    """Of all owners' batches."""
    duplex_s: float = 0.0
    """``makespan_s`` where links carry both directions at once: of a cut only the slower one
    counts as a stage."""
    ahead_s: float = 0.0
    """Sum over turns of an owner's way into the body and back out: another owner's turn may run
    beside it, since heads are private."""
    busy_s: Mapping[str, float] = field(default_factory=dict)
    """Of each device in one step of all owners."""

    def value(self, objective: Objective, turns: int) -> float:
        """The objective of the cluster: sums over turns."""
        return {
            "latency": self.latency_s * turns,
            "period": self.period_s * turns,
            "makespan": self.makespan_s,
            "energy": self.energy_j,
        }[objective]


@dataclass(kw_only=True)
class _Turn:
    """One turn: busy seconds of devices and seconds of link stages for one micro-batch."""

    latency_s: float = 0.0
    ahead_s: float = 0.0
    busy_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    hops: list[Hop] = field(default_factory=list)
    energy_j: float = 0.0

    @property
    def period_s(self) -> float:
        return max([*self.busy_s.values(), *(hop.stage_s for hop in self.hops)])

    @property
    def duplex_period_s(self) -> float:
        ways_s = (max(hop.forward_s, hop.backward_s) for hop in self.hops)
        return max([*self.busy_s.values(), *ways_s])


def step_figures(
    cost: CostModel, chain: Chain, speed: Mapping[str, float] | None = None
) -> StepFigures:
    """Figures of one local step of ``chain``.

    Sequential owners take turns, each with its own micro-batches through the whole chain. Merged
    owners run their heads and tails beside one another, and the slowest counts; the body works on
    all their samples. Labels that travel follow the activations.

    Args:
        cost: Figures of model and fleet.
        chain: Who holds what.
        speed: Part of their speed that devices have for this cluster, where it is not all.
    """
    speed = speed or {}
    if chain.intra == "merge":
        turns = [_turn(cost, chain, chain.owners, speed)]
    else:
        turns = [_turn(cost, chain, (owner,), speed) for owner in chain.owners]
    busy_s: defaultdict[str, float] = defaultdict(float)
    for turn in turns:
        for device, seconds in turn.busy_s.items():
            busy_s[device] += chain.microbatches * seconds
    passes = chain.microbatches
    return StepFigures(
        latency_s=sum(turn.latency_s for turn in turns) / len(turns),
        period_s=sum(turn.period_s for turn in turns) / len(turns),
        makespan_s=sum(turn.latency_s + (passes - 1) * turn.period_s for turn in turns),
        energy_j=passes * sum(turn.energy_j for turn in turns),
        duplex_s=sum(turn.latency_s + (passes - 1) * turn.duplex_period_s for turn in turns),
        ahead_s=sum(turn.ahead_s for turn in turns),
        busy_s=dict(sorted(busy_s.items())),
    )


def _turn(
    cost: CostModel, chain: Chain, owners: Sequence[str], speed: Mapping[str, float]
) -> _Turn:
    turn = _Turn()
    _body(cost, chain, len(owners), speed, turn)
    ways = [_owner(cost, chain, owner, speed, turn) for owner in owners]
    forward_s, turning_s, backward_s = (max(part) for part in zip(*ways, strict=True))
    turn.latency_s += forward_s + turning_s + backward_s
    turn.ahead_s = forward_s + backward_s
    return turn


def _body(
    cost: CostModel, chain: Chain, owners: int, speed: Mapping[str, float], turn: _Turn
) -> None:
    """Adds the body's stages and the cuts between them."""
    samples = owners * chain.microbatch_size
    for device, first, last in chain.body:
        seconds = cost.forward_s(device, first, last, samples)
        seconds += cost.backward_s(device, first, last, samples)
        seconds /= speed.get(device, 1.0)
        turn.busy_s[device] += seconds
        turn.latency_s += seconds
        turn.energy_j += cost.energy_j(device, first, last, samples)
    for (sender, _, cut), (receiver, _, _) in pairwise(chain.body):
        hop = stage_hop(cost, sender, receiver, cut, samples)
        turn.hops.append(hop)
        turn.latency_s += hop.stage_s
        turn.energy_j += hop.energy_j


def _owner(
    cost: CostModel, chain: Chain, owner: str, speed: Mapping[str, float], turn: _Turn
) -> tuple[float, float, float]:
    """Seconds from the raw input into the body, from the body through the tail and back into it,
    and from the body back through the head. Adds stages and joules to ``turn``."""
    samples = chain.microbatch_size
    head, tail = (0, chain.head_units - 1), (chain.tail_first_unit, cost.n_units - 1)
    slow = 1.0 / speed.get(owner, 1.0)
    forward_s = slow * cost.forward_s(owner, *head, samples)
    backward_s = slow * cost.backward_s(owner, *head, samples)
    turning_s = slow * cost.forward_s(owner, *tail, samples)
    turning_s += slow * cost.backward_s(owner, *tail, samples)
    turn.busy_s[owner] += forward_s + backward_s + turning_s
    entry, leave = owner_hops(cost, chain, owner)
    turn.hops += [entry, leave]
    turn.energy_j += cost.energy_j(owner, *head, samples) + cost.energy_j(owner, *tail, samples)
    turn.energy_j += entry.energy_j + leave.energy_j
    return (
        forward_s + entry.forward_s,
        leave.forward_s + turning_s + leave.backward_s,
        entry.backward_s + backward_s,
    )


def owner_hops(cost: CostModel, chain: Chain, owner: str) -> tuple[Hop, Hop]:
    """An owner's hops into the body and out of it; none without a body."""
    if not chain.body:
        return NO_HOP, NO_HOP
    samples = chain.microbatch_size
    entry = entry_hop(cost, owner, chain.body[0][0], chain.head_units, samples)
    return entry, exit_hop(cost, owner, chain.body[-1][0], chain.tail_first_unit, samples)
