"""What a clustering problem is, and what its solver answers."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ClusterMember", "ClusterProblem", "ClusterSolution", "ClusterTerms"]

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClusterMember(_Strict):
    """A device that is to be put into a cluster."""

    capacity_bytes: Amount = 0.0
    """Memory that it can give to the model's body."""
    flops_per_s: Amount = 0.0
    label_counts: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Samples per class that it owns; shorter ones are filled up with zeros."""
    owner: bool = False
    """Whether it owns data; every cluster needs one that does."""


class ClusterProblem(_Strict):
    """Devices that are to be partitioned into ``clusters`` clusters.

    Minimises ``label_weight · labels + speed_weight · τ + proximity_weight · proximity`` (see
    ``ClusterTerms``) where each cluster has an owner, memory of at least ``required_bytes``, and
    between ``min_devices`` and ``max_devices`` devices that can reach one another. ``labels`` is
    the label distance of the clusters from the fleet under the policy ``mix``, and the label
    distances within clusters under ``similar``.

    Raises:
        pydantic.ValidationError: A figure is negative or NaN, or the matrix is not N x N.
    """

    members: Annotated[tuple[ClusterMember, ...], Field(min_length=1)]
    clusters: Annotated[int, Field(ge=1)]
    required_bytes: Amount = 0.0
    """Joint memory that the members of each cluster must have."""
    round_trip_s: tuple[tuple[Annotated[float, Field(ge=0)], ...], ...] | None = None
    """N x N, symmetric; infinite where two devices must not be in one cluster."""
    policy: Literal["mix", "similar"] = "mix"
    """``mix``: every cluster's labels like the fleet's, which averaging wants. ``similar``: like
    with like, for modules that are personal to a cluster or a user group."""
    label_weight: Amount = 1.0
    speed_weight: Amount = 0.5
    proximity_weight: Amount = 0.25
    min_devices: Annotated[int, Field(ge=1)] = 1
    max_devices: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    restarts: Annotated[int, Field(ge=1)] = 8
    """Random starts beside the one of k-means; fewer where N · K is above 12,500."""
    exact_up_to: Annotated[int, Field(ge=0, le=24)] = 24
    """Numbers of devices up to which the optimum is proven."""

    @model_validator(mode="after")
    def _matrix_fits(self) -> Self:
        rows, count = self.round_trip_s, len(self.members)
        if rows is None:
            return self
        if len(rows) != count or any(len(row) != count for row in rows):
            raise ValueError(f"round_trip_s must be {count} x {count}")
        if any(math.isnan(value) for row in rows for value in row):
            raise ValueError("round_trip_s holds NaN")
        if any(rows[i][j] != rows[j][i] for i in range(count) for j in range(i)):
            raise ValueError("round_trip_s must be symmetric")
        return self


class ClusterTerms(_Strict):
    """The parts of the objective, each 0 at best. Of both label terms the policy picks one."""

    label_tv: float
    """Total variation between clusters' and the fleet's label distribution, clusters weighted by
    samples: ``1/(2H) Σ_k Σ_y |Σ_{i in k} (H_iy - q_y H_i)|``, between 0 and 1."""
    label_spread: float
    """Part of all pairs' label distances (total variation, weighted by the product of their
    samples) that lies within clusters, between 0 and 1."""
    speed_shortfall: float
    """τ: how far the slowest cluster stays below the mean: ``1 - min_k s_k / (Σ s / K)``."""
    proximity: float
    """Part of all pairs' summed round-trip times that lies within clusters, between 0 and 1."""
    total: float
    """The weighted sum, which is minimised."""


class ClusterSolution(_Strict):
    """A partition with its certificate."""

    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    """``optimal`` and ``infeasible`` are proven; ``unknown``: the search found no partition that
    satisfies the constraints, and nothing proves that there is none."""
    assignment: tuple[int, ...] = ()
    """Cluster of each member; clusters are numbered in order of their first member."""
    terms: ClusterTerms | None = None
    value: float | None = None
    bound: float | None = None
    """No partition has a smaller objective."""
    gap: float | None = None
    """``(value - bound) / value``; 0 when the value is 0."""
    solver: str = ""
    nodes: int = 0
    reason: str | None = None
    """What makes it infeasible, in words."""
