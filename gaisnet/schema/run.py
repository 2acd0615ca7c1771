"""What stands in a run's folder: ``manifest.json``, ``metrics.jsonl`` and ``events.jsonl``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gaisnet.schema.base import (
    Bytes,
    Compute,
    Count,
    Fraction,
    Identifier,
    NonNegative,
    PositiveCount,
    Sha256,
    Strict,
)

__all__ = [
    "EarlierPlan",
    "Event",
    "LinkTraffic",
    "MoveTime",
    "RoundMetrics",
    "RunManifest",
    "ServiceMetrics",
    "WorkTime",
]


class EarlierPlan(Strict):
    """A plan that a run had until a device was lost."""

    path: str
    """Relative to the run's folder."""
    sha256: Sha256


class RunManifest(Strict):
    """Which plan was run, with what, and how it ended."""

    schema_version: Literal[1] = 1
    run_id: Identifier
    plan_path: str
    """Relative to the run's folder."""
    plan_sha256: Sha256
    earlier_plans: tuple[EarlierPlan, ...] = ()
    """Oldest first: a re-plan after a loss takes the place of the plan before it."""
    epoch: Count = 0
    """How often the run's services were put in place before: it was resumed, or planned again."""
    engine: Literal["local", "ray"]
    compute: dict[Identifier, Compute] = Field(default_factory=dict)
    """What each device that held a stage computed on."""
    seed: Count
    status: Literal["running", "done", "interrupted", "failed"]
    rounds_done: Count = 0
    rounds: Count
    eval_loss_before: NonNegative | None = None
    """On the job's held-out samples, before any tuning."""
    eval_accuracy_before: Fraction | None = None
    adapters: dict[str, str] = Field(default_factory=dict)
    """Folder of each domain's tuned modules, relative to the run's."""
    frozen_sha256: Sha256
    """Of every frozen tensor: equal before and after."""
    tunable_sha256: Sha256 | None = None
    """Of the tuned modules at the end."""
    tool_versions: dict[str, str] = Field(default_factory=dict)


class LinkTraffic(Strict):
    """What was sent over one directed link."""

    sender: Identifier
    receiver: Identifier
    frames: Count
    payload_bytes: Bytes
    """Tensor data."""
    frame_bytes: Bytes
    """With headers."""


class WorkTime(Strict):
    """What one device spent on passes of the same kind in a round."""

    device: Identifier
    direction: Literal["forward", "backward", "turn", "update"]
    """``turn``: forward and backward at once, as the last stage does."""
    first_unit: Count
    last_unit: Count
    samples: Count
    times: PositiveCount
    virtual_s: NonNegative
    """Of all together, by the figures that the run had."""
    wall_s: NonNegative | None = None
    """Of all together, as the device's own clock had it, waits left out."""


class MoveTime(Strict):
    """What one directed link spent on frames of the same size in a round."""

    sender: Identifier
    receiver: Identifier
    frame_bytes: Bytes
    times: PositiveCount
    virtual_s: NonNegative
    """Of all together, by the figures that the run had."""


class RoundMetrics(Strict):
    """One line of ``metrics.jsonl``."""

    round: Count
    train_loss: NonNegative | None = None
    """Mean over owners' samples."""
    eval_loss: NonNegative | None = None
    eval_accuracy: Fraction | None = None
    predicted_s: NonNegative
    """The plan's round time."""
    virtual_s: NonNegative
    """The round time on the virtual clock driven by the fleet's figures."""
    wall_s: NonNegative
    """The time that it took here."""
    traffic: tuple[LinkTraffic, ...] = ()
    rejected: dict[Identifier, str] = Field(default_factory=dict)
    """Devices whose updates were not averaged, each with the reason."""
    work: tuple[WorkTime, ...] = ()
    """What every device computed."""
    moves: tuple[MoveTime, ...] = ()
    """What every link carried."""
    epsilon: NonNegative | None = None
    """What an owner's updates have spent so far, at the job's δ; none if they have no noise."""


class ServiceMetrics(Strict):
    """What one service got."""

    service: Identifier
    requests: Count
    accuracy: Fraction | None = None
    tokens: Count = 0
    predicted_s: NonNegative
    virtual_s: NonNegative
    wall_s: NonNegative
    traffic: tuple[LinkTraffic, ...] = ()


class Event(Strict):
    """One line of ``events.jsonl``."""

    sequence: Count
    kind: Literal[
        "run_started",
        "run_resumed",
        "round_started",
        "round_closed",
        "replanned",
        "checkpoint_written",
        "update_rejected",
        "device_lost",
        "device_leaving",
        "versions_differ",
        "service_answered",
        "run_done",
        "run_interrupted",
        "run_failed",
    ]
    round: Count | None = None
    device: Identifier | None = None
    detail: str = ""
