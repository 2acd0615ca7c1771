"""Why a plan is as it is: what binds it, what nearly was chosen, what each device and upgrade is
worth. A part of ``plan.json``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gaisnet.schema.base import Identifier, NonNegative, Positive, Strict

__all__ = ["Binding", "Contribution", "Explanation", "RunnerUp", "Upgrade"]


class Binding(Strict):
    """A limit that the plan runs into, or a resource that its time goes to."""

    kind: Literal["memory", "compute", "link", "latency", "rule"]
    where: str
    """A device, a link ``a–b``, a service, or a rule of the job."""
    cluster: Identifier | None = None
    used: NonNegative | None = None
    """Bytes of memory; seconds of a step on a device or link; seconds of a request."""
    limit: NonNegative | None = None
    """The memory's bytes; seconds of the whole step; the latency objective's seconds."""
    gain: NonNegative | None = None
    """Part of the cluster's objective that an upgrade of it, or lifting the rule, would save;
    with ``--explain``."""


class RunnerUp(Strict):
    """The best that differs in one way."""

    decision: str
    difference: str
    value: NonNegative
    best: NonNegative
    """Of the plan, in the same objective."""
    worse_by: float
    """``value / best - 1``; below zero only where the plan itself is not proven optimal."""


class Contribution(Strict):
    """What a device that holds a stage for its cluster is worth to it."""

    cluster: Identifier
    device: Identifier
    value_with: NonNegative
    """The cluster's objective."""
    value_without: NonNegative | None
    """If the device held nothing for others (owners keep head and tail); None if there is then
    no split at all."""
    gap: NonNegative = 0.0
    """Of ``value_without``: it may be less by this part."""


class Upgrade(Strict):
    """What more of one resource would buy."""

    kind: Literal["memory", "speed", "bandwidth"]
    where: str
    """A device, or a link ``a–b``."""
    cluster: Identifier
    value: NonNegative
    """The cluster's objective with it."""
    gain: NonNegative
    """Part of the objective that it saves."""
    gap: NonNegative = 0.0


class Explanation(Strict):
    """Why the plan is as it is."""

    complete: bool = False
    """Whether contributions, upgrades and other splits were worked out (``--explain``)."""
    factor: Positive = 1.25
    """Of the upgrades: what a resource is multiplied with."""
    binding: tuple[Binding, ...] = ()
    """The tightest first."""
    runner_ups: tuple[RunnerUp, ...] = ()
    """The closest first."""
    contributions: tuple[Contribution, ...] = Field(default=())
    """Of every device that may hold a stage; those that are not used contribute nothing."""
    upgrades: tuple[Upgrade, ...] = ()
    """Those that gain something, the most first."""
