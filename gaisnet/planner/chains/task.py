"""What there is to decide in one cluster: owners, who may hold the body, and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gaisnet.planner.chains.moving import Moving
from gaisnet.planner.chains.rules import NO_RULES, TaskRules, broken
from gaisnet.planner.chains.step import Chain, step_figures
from gaisnet.planner.cost import CostModel, Residence
from gaisnet.schema.job import Intra, Objective, SearchSpec, Topology

__all__ = ["SplitTask", "overflow", "residences"]


@dataclass(frozen=True, kw_only=True)
class SplitTask:
    """One cluster's splitting problem."""

    name: str
    owners: tuple[str, ...]
    holders: tuple[str, ...]
    """Devices that may hold stages of the body."""
    limit_bytes: Mapping[str, int]
    """Memory of owners and holders for this cluster."""
    speed: Mapping[str, float] = field(default_factory=dict)
    """Part of their speed that holders have for this cluster, where it is not all."""
    shares_weights: frozenset[str] = frozenset()
    """Holders whose frozen weights are accounted for elsewhere (copies of several clusters)."""
    intra: Intra = "sequential"
    topology: Topology = "u_shape"
    microbatches: int = 1
    batch_size: int = 1
    """Samples of one owner in one step."""
    min_head_units: int = 1
    min_tail_units: int = 1
    max_stages: int | None = None
    whole: bool = False
    """Owners hold the whole model; there is no body (federated and central training)."""
    other_ends: tuple[int, int] | None = None
    """Units of the head and first unit of the tail that are ruled out."""
    needs_body: bool = False
    """Owners must not hold the whole model (split learning)."""
    objective: Objective = "makespan"
    rules: TaskRules = NO_RULES
    """Side constraints."""
    beside: Mapping[str, tuple[Residence, ...]] = field(default_factory=dict)
    """What devices hold for others than this cluster: ``limit_bytes`` is for all of it."""
    moving: Moving | None = None
    """The price of units that devices do not hold yet; none where everything is new anyway."""
    search: SearchSpec = field(default_factory=SearchSpec)

    @property
    def turns(self) -> int:
        """Turns of one step: one per owner, or one of all merged owners."""
        return 1 if self.intra == "merge" else len(self.owners)

    @property
    def merged(self) -> int:
        """Owners whose samples the body works on at once."""
        return len(self.owners) // self.turns

    @property
    def microbatch_size(self) -> int:
        """Samples of one owner in one pass."""
        return self.batch_size // self.microbatches

    def allows(self, cost: CostModel, chain: Chain) -> bool:
        """Whether a chain obeys the side constraints."""
        if self.rules == NO_RULES:
            return True
        figures = step_figures(cost, chain, self.speed)
        return not any(broken(self.rules, self.holders, chain, figures))

    def value(self, cost: CostModel, chain: Chain) -> float:
        """What a chain of this cluster is judged by: its objective, and the price of moving."""
        value = step_figures(cost, chain, self.speed).value(self.objective, self.turns)
        return value + (self.moving.price * self.moved_bytes(chain) if self.moving else 0.0)

    def moved_bytes(self, chain: Chain) -> int:
        """Bytes of units that devices of ``chain`` do not hold yet."""
        if self.moving is None:
            return 0
        ends = chain.head_units, chain.tail_first_unit
        return self.moving.chain_bytes(chain.owners, *ends, chain.body)

    def chain(self, head: int, tail: int, body: tuple[tuple[str, int, int], ...]) -> Chain:
        """A chain of this cluster."""
        return Chain(
            owners=self.owners,
            head_units=head,
            tail_first_unit=tail,
            body=body,
            intra=self.intra,
            microbatches=self.microbatches,
            batch_size=self.batch_size,
        )


def residences(cost: CostModel, chain: Chain) -> dict[str, list[Residence]]:
    """What each device of a chain holds, with the samples in flight there."""
    held: dict[str, list[Residence]] = {}
    ends = [(0, chain.head_units - 1), (chain.tail_first_unit, cost.n_units - 1)]
    for owner in chain.owners:
        held[owner] = [_residence(chain, span, 1) for span in ends if span[0] <= span[1]]
    for device, first, last in chain.body:
        held.setdefault(device, []).append(_residence(chain, (first, last), chain.merged))
    return held


def _residence(chain: Chain, span: tuple[int, int], merged: int) -> Residence:
    return Residence(
        first_unit=span[0],
        last_unit=span[1],
        samples_in_flight=merged * chain.batch_size,
        microbatch_size=merged * chain.microbatch_size,
    )


def overflow(cost: CostModel, task: SplitTask, chain: Chain) -> dict[str, int]:
    """Bytes that are missing on each device that ``chain`` overloads."""
    missing = {}
    for device, held in residences(cost, chain).items():
        need = cost.memory([*held, *task.beside.get(device, ())]).total_bytes
        if device in task.shares_weights:
            need -= cost.frozen_bytes(held)
        if need > task.limit_bytes[device]:
            missing[device] = need - task.limit_bytes[device]
    return missing
