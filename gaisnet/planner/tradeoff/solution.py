"""What the trade-off solver answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["ClusterShares", "GroupRoute", "LooserSlo", "TradeoffSolution"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroupRoute(_Strict):
    """The requests of one group that one cluster serves."""

    group: str
    cluster: str
    rate_per_s: float
    compute_share: float
    uplink_share: float
    mean_s: float
    """Pollaczek–Khinchine, both queues and the fixed part."""
    percentile_s: float | None = None
    """Two-moment estimate of the group's percentile (``curves.percentile_s``); the SLO is
    enforced by the safe rule of ``curves.tail_margin``, not by this estimate."""


class ClusterShares(_Strict):
    """What a cluster gives to fine-tuning, and what more of its resources would buy."""

    cluster: str
    compute_share: float
    uplink_share: float
    rounds_per_s: float
    utility: float
    compute_price: float
    """Objective gained per further FLOP/s, with the routing as it is."""
    uplink_price: float
    """Objective gained per further byte/s, with the routing as it is."""
    domains: tuple[str, ...]
    """Those whose modules it holds."""
    modules_bytes: float


class LooserSlo(_Strict):
    """The group that makes a problem infeasible."""

    group: str
    slo_s: float | None
    """About the tightest SLO that would do (to 0.1 %); None: no SLO would."""
    beside: Literal["alone", "others as they are", "all loosened alike"]


class TradeoffSolution(_Strict):
    """Shares and routing with their certificate."""

    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    """``optimal``: proven to the problem's ``gap``. ``infeasible`` is proven as well; ``unknown``:
    a limit ended the search before it found anything, and nothing proves that there is nothing."""
    routes: tuple[GroupRoute, ...] = ()
    shares: tuple[ClusterShares, ...] = ()
    value: float | None = None
    bound: float | None = None
    """No shares and routing have a larger value."""
    gap: float | None = None
    """``(bound - value) / |value|``; 0 when they are equal."""
    solver: str = ""
    nodes: int = 0
    reason: str | None = None
    looser_slo: LooserSlo | None = None
