"""What a trade-off problem is: clusters that fine-tune, and user groups that they serve."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gaisnet.schema.base import Figure, PositiveFigure

__all__ = ["FineTuningLoad", "TradeoffCluster", "TradeoffProblem", "UserGroup"]

Name = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FineTuningLoad(_Strict):
    """What a round of a cluster's fine-tuning costs, and what rounds are worth.

    With shares a of the compute S and b of the uplink B a cluster does
    ``r = 1 / (W / (a S) + V / (b B))`` rounds per second, or, where computing and sending
    overlap, ``r = min(a S / W, b B / V)``. They are worth ``A (1 - (1 + r H / R0) ** -gamma)``.
    """

    work_flops: Figure
    """W, of one round."""
    traffic_bytes: Figure
    """V, of one round."""
    utility: Figure
    """A: what fine-tuning without end is worth."""
    gamma: PositiveFigure
    """Exponent of the power law that the loss follows."""
    scale_rounds: PositiveFigure
    """R0: after so many rounds ``1 - 2 ** -gamma`` of A is reached."""
    horizon_s: PositiveFigure
    """H: how long fine-tuning goes on."""
    overlapped: bool = False

    @model_validator(mode="after")
    def _rounds_cost_something(self) -> Self:
        if self.work_flops == 0.0 and self.traffic_bytes == 0.0:
            raise ValueError("a round needs work_flops or traffic_bytes above 0")
        return self


class TradeoffCluster(_Strict):
    """Resources that fine-tuning and the groups share."""

    id: Name
    compute_flops_per_s: PositiveFigure
    """S."""
    uplink_bytes_per_s: PositiveFigure
    """B."""
    memory_bytes: Figure | None = None
    """For the modules of the domains that are served here; None: no limit."""
    tuning: FineTuningLoad | None = None


class UserGroup(_Strict):
    """Users of one domain whose requests first compute and then send, in two queues."""

    id: Name
    domain: str = ""
    rate_per_s: PositiveFigure
    """Arrivals form a Poisson process."""
    work_flops: Figure
    """Mean of one request."""
    request_bytes: Figure
    """Mean of one request over the uplink."""
    service_scv: Figure = 1.0
    """Squared coefficient of variation of service times: 0 constant, 1 exponential. Above 1 the
    mean sojourn is replaced by its convex upper bound."""
    slo_s: PositiveFigure | None = None
    slo_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """None: ``slo_s`` is about the mean."""
    fixed_s: Figure = 0.0
    """Part of the latency that no share changes."""
    clusters: tuple[str, ...] | None = None
    """Those that may serve it; None: all."""
    delay_weight: Figure = 0.0
    """Utility lost per second of mean latency (of its slowest cluster, if several serve it)."""

    @model_validator(mode="after")
    def _latency_matters(self) -> Self:
        if self.work_flops == 0.0 and self.request_bytes == 0.0:
            raise ValueError("a request needs work_flops or request_bytes above 0")
        if self.slo_s is None and self.slo_percentile is not None:
            raise ValueError("slo_percentile needs slo_s")
        if self.slo_s is None and self.delay_weight == 0.0:
            raise ValueError(
                "a group needs slo_s or a delay_weight above 0: else nothing keeps its queue stable"
            )
        return self


class TradeoffProblem(_Strict):
    """Shares of compute and uplink for fine-tuning and for each group, and who serves whom.

    Maximises ``Σ_c U_c(r_c) - Σ_g delay_weight_g · D_g`` such that shares of each resource add up
    to at most 1, all SLOs hold, and the modules of the domains served fit each cluster's memory.

    Raises:
        pydantic.ValidationError: A figure is out of range, an id is used twice, or a group names a
            cluster that does not exist.
    """

    clusters: Annotated[tuple[TradeoffCluster, ...], Field(min_length=1)]
    groups: tuple[UserGroup, ...] = ()
    modules_bytes: dict[str, Figure] = Field(default_factory=dict)
    """Memory of each domain's modules, counted once per cluster; 0 for domains not named."""
    routing: Literal["fractional", "single"] = "single"
    """``single``: each group is served by one cluster. ``fractional``: its requests may be split;
    every cluster that gets a part must meet the SLO."""
    percentile_rule: Literal["union", "independent"] = "union"
    """How a percentile becomes a minimum of ``μ - λ`` per queue, see ``curves.tail_margin``."""
    gap: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Relative gap at which the search may end."""
    exact_up_to_pairs: Annotated[int, Field(ge=0)] = 600
    """Allowed (group, cluster) pairs up to which the whole problem goes to branch and bound."""
    node_limit: Annotated[int, Field(ge=1)] = 200
    """Branch-and-bound nodes of one MILP."""
    time_limit_s: PositiveFigure | None = None
    """Of one MILP. Results may then differ from machine to machine."""

    @model_validator(mode="after")
    def _ids_fit(self) -> Self:
        for name, ids in (
            ("cluster", [cluster.id for cluster in self.clusters]),
            ("group", [group.id for group in self.groups]),
        ):
            twice = sorted({i for i in ids if ids.count(i) > 1})
            if twice:
                raise ValueError(f"{name} ids must be unique, but {twice[0]!r} is used twice")
        known = {cluster.id for cluster in self.clusters}
        for group in self.groups:
            strangers = sorted(set(group.clusters or ()) - known)
            if strangers:
                raise ValueError(f"group {group.id!r}: there is no cluster {strangers[0]!r}")
        return self
