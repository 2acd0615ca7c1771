"""``front.json``: plans of which none is better than another in everything."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from gaisnet.schema.base import (
    Bytes,
    Count,
    Fraction,
    Identifier,
    NonNegative,
    PositiveCount,
    Strict,
)
from gaisnet.schema.job import Compression, Measure, Objective, SearchSpace, Topology
from gaisnet.schema.plan import ClusterPlan, PlanInputs

__all__ = ["Front", "FrontPoint", "Measures", "Refusal", "Setting"]


class Setting(Strict):
    """One combination of what is searched over; all else is as in the job."""

    clusters: PositiveCount | None = None
    """``None`` where the scheme gives it."""
    objective: Objective
    topology: Topology
    min_head_units: PositiveCount
    min_tail_units: PositiveCount
    batch_size: PositiveCount
    microbatches: PositiveCount
    rank: PositiveCount | None = None
    """``None`` where the tunable modules are no LoRA."""
    compression: Compression
    local_steps: PositiveCount
    cloud_every: PositiveCount


class Measures(Strict):
    """What a plan is compared by: rounds of different lengths by what one sample of them takes."""

    time_s: NonNegative
    """Of a round, by the samples that all owners go through in it."""
    energy_j: NonNegative
    """The same; of an average at the cloud every few rounds its part of a round."""
    payload_bytes: NonNegative
    """Over all links, the same."""
    memory_bytes: Bytes
    """On all devices together."""
    leakage: Fraction | None = None
    """Of the cut that gives away most: 1 - inversion error, and 1 where labels leave their owner.
    ``None`` if the profile has not measured it at some cut in use."""
    rank: PositiveCount | None = None
    """More is better."""
    bits: PositiveCount
    """Of each value that crosses a cut; more is better."""
    interval_samples: PositiveCount
    """Of an owner, from one average over all edges to the next; less is better."""


class FrontPoint(Strict):
    """A plan of the front."""

    id: Identifier
    setting: Setting
    measures: Measures
    clusters: tuple[ClusterPlan, ...] = Field(min_length=1)
    gap: NonNegative
    """The widest of the plan's certificates."""


class Refusal(Strict):
    """Why some combinations have no plan."""

    reason: str
    combinations: PositiveCount
    example: Setting


class Front(Strict):
    """What ``gaisnet plan --search`` finds."""

    schema_version: Literal[1] = 1
    name: Identifier
    inputs: PlanInputs
    method: Literal["enumeration", "nsga2", "tpe"]
    """``enumeration``: every combination was planned, or proven to be worse than another."""
    measures: tuple[Measure, ...] = Field(min_length=1)
    """What the plans are compared by."""
    space: SearchSpace
    left_out: tuple[str, ...] = ()
    """What could not be varied, and why."""
    combinations: PositiveCount
    """In the whole space."""
    planned: Count
    pruned: Count
    """Not planned: a bound showed that another plan is better in everything."""
    infeasible: Count
    refusals: tuple[Refusal, ...] = ()
    points: tuple[FrontPoint, ...] = Field(min_length=1)
    """By the measures, in their order."""
    picked: Identifier
    pick: str
    """The rule by which it was picked."""
    seed: Count = 0
    reproducible: bool = True
    """False if a wall-clock limit was in force."""
    tool_versions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _the_picked_point_is_there(self) -> Front:
        if self.picked not in {point.id for point in self.points}:
            raise ValueError(f"picked {self.picked!r} is no point of the front")
        return self
