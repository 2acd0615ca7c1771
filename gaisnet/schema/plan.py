"""``plan.json``: who holds what, who is clustered with whom, who serves whom, and the proof."""

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
    Sha256,
    Strict,
)
from gaisnet.schema.explanation import Explanation
from gaisnet.schema.job import Intra, Objective, Scheme, Topology

__all__ = [
    "Certificate",
    "ClusterPlan",
    "DevicePrediction",
    "Fallback",
    "InputFile",
    "LinkPrediction",
    "Loss",
    "Owner",
    "Plan",
    "PlanInputs",
    "Predictions",
    "ResourcePrice",
    "Route",
    "ServicePrediction",
    "Share",
    "Slack",
    "Stage",
    "StepPrediction",
    "Takeover",
]


class InputFile(Strict):
    """A file that the plan was made from; execute refuses any other content."""

    path: str
    """Relative to the plan's folder."""
    sha256: Sha256


class PlanInputs(Strict):
    job: InputFile
    fleet: InputFile
    profile: InputFile
    device_profiles: dict[str, InputFile] = Field(default_factory=dict)
    """Profiles that devices of the fleet name, by device."""
    calibration: InputFile | None = None
    """Figures that fit an earlier run, if they were used."""


class Certificate(Strict):
    """How good a decision is, and who says so. Holds no wall-clock time: plans are reproducible."""

    decision: str
    """What was decided, e.g. ``split of cluster c0`` or ``clustering``."""
    objective: str
    solver: str
    status: Literal["optimal", "feasible", "given"]
    """``given``: fixed by the job or the scheme, nothing to optimise."""
    value: float
    bound: float
    """No solution is better than this."""
    gap: NonNegative
    """``(value - bound) / value``."""
    work: Count = 0
    """Search nodes or simplex iterations: a reproducible measure of effort."""


class Stage(Strict):
    """A device holds the units ``first_unit .. last_unit``, both included."""

    device: Identifier
    first_unit: Count
    last_unit: Count

    @model_validator(mode="after")
    def _not_empty(self) -> Stage:
        if self.last_unit < self.first_unit:
            raise ValueError(f"stage on {self.device} ends at {self.last_unit} before its start")
        return self


class Owner(Strict):
    """A device that holds head and tail of its cluster and feeds data."""

    device: Identifier
    shards: tuple[Identifier, ...]
    """Devices whose data it feeds: its own alone, but for centralised training."""
    samples: PositiveCount


class ClusterPlan(Strict):
    """Devices that hold the model together. Owners hold ``[0, head_units)`` and
    ``[tail_first_unit, n_units)``; ``body`` covers what lies between, in order.

    ``head_units == n_units`` is federated learning, ``tail_first_unit == n_units`` the vanilla
    topology (labels travel to the last body stage).
    """

    id: Identifier
    edge: Identifier
    """Coordinates the cluster and averages its modules."""
    domain: Identifier
    owners: tuple[Owner, ...] = Field(min_length=1)
    head_units: Count
    tail_first_unit: Count
    body: tuple[Stage, ...]
    intra: Intra
    handover: Literal["average", "relay"] = "average"
    """Owners' head and tail modules are averaged after a round, or handed from turn to turn."""
    microbatches: PositiveCount = 1


class Share(Strict):
    """Part of a device's compute and links that a service or fine-tuning may use."""

    device: Identifier
    user: Identifier
    """A service's id, or ``fine-tuning``."""
    compute: Fraction
    link: Fraction


class ResourcePrice(Strict):
    """What more of a device would buy, with the routing as it is: the dual price of a resource
    that fine-tuning and services share."""

    device: Identifier
    resource: Literal["compute", "link"]
    """``link``: all links that the device sends on."""
    round_s_per_percent: NonNegative
    """Seconds of a round that one percent more of it saves, or their worth in latencies."""


class Route(Strict):
    """A service is answered by a cluster; ``entry`` holds head and tail for it."""

    service: Identifier
    cluster: Identifier
    entry: Identifier


class StepPrediction(Strict):
    """One local step of one cluster (all owners' turns)."""

    cluster: Identifier
    latency_s: NonNegative
    """Mean over owners of one sequential pass forward and backward of a micro-batch."""
    period_s: NonNegative
    makespan_s: NonNegative
    """All owners' turns of one step, micro-batches pipelined."""
    energy_j: NonNegative


class DevicePrediction(Strict):
    device: Identifier
    weight_bytes: Bytes
    training_bytes: Bytes
    """Gradients, optimizer state and saved activations."""
    cache_bytes: Bytes = 0
    """KV caches of the sessions that it serves."""
    memory_bytes: Bytes
    """All of it."""
    limit_bytes: Bytes
    whole_model_bytes: Bytes
    """What fine-tuning the whole model on this device alone would take."""
    busy_s_per_round: NonNegative
    energy_j_per_round: NonNegative


class LinkPrediction(Strict):
    """Bytes over one directed link in a round, frame headers not counted."""

    sender: Identifier
    receiver: Identifier
    payload_bytes_per_round: Bytes
    transfer_s_per_round: NonNegative


class ServicePrediction(Strict):
    service: Identifier
    service_s: NonNegative
    """Latency of a request that finds everything idle."""
    mean_s: NonNegative
    """With queueing."""
    p95_s: NonNegative
    utilisation: Fraction
    """Of the busiest resource within the service's share."""
    throughput_per_s: NonNegative
    meets_slo: bool


class Predictions(Strict):
    steps: tuple[StepPrediction, ...]
    round_s: NonNegative
    """Slowest cluster's local steps and averaging, then the averages over edges and cloud."""
    aggregation_s: NonNegative
    devices: tuple[DevicePrediction, ...]
    links: tuple[LinkPrediction, ...]
    services: tuple[ServicePrediction, ...] = ()


class Takeover(Strict):
    """Units that a device holds for a cluster after a re-plan, and did not before."""

    cluster: Identifier
    device: Identifier
    first_unit: Count
    last_unit: Count
    moved_bytes: Bytes
    """Weights and optimizer state that travel to it; weights that it has for another cluster do
    not."""


class Loss(Strict):
    """Why a plan was made from another one."""

    lost: tuple[Identifier, ...]
    """Devices of the fleet that are gone, also those lost before."""
    takes: tuple[Takeover, ...] = ()
    moved_bytes: Bytes = 0
    bytes_weight: NonNegative = 1.0
    """What moving the whole model once counted like, in steps of the cluster hit."""


class Fallback(Strict):
    """What is done if a device is lost, or why nothing can be."""

    lost: Identifier
    feasible: bool
    reason: str | None = None
    """Why the loss is fatal, ..."""
    mend: str | None = None
    """... and the smallest change after which it would not be."""
    takes: tuple[Takeover, ...] = ()
    moved_bytes: Bytes = 0
    round_s: NonNegative | None = None
    """Predicted for a round afterwards."""
    gap: NonNegative = 0.0
    """Of the worst decision of the re-plan."""
    clusters: tuple[ClusterPlan, ...] = ()
    """Those that change, as they are afterwards."""
    dissolved: tuple[Identifier, ...] = ()
    """Clusters that end: their owners are gone, or joined another one."""
    cloud: Identifier | None = None
    """Averages over the edges afterwards."""


class Slack(Strict):
    """Margins that the plan keeps: parts of memory, and of speeds and bandwidths."""

    memory: Fraction = 0.0
    time: Fraction = 0.0


class Plan(Strict):
    """What ``gaisnet plan`` writes and ``gaisnet execute`` runs."""

    schema_version: Literal[1] = 1
    name: Identifier
    scheme: Scheme
    topology: Topology
    objective: Objective
    n_units: PositiveCount
    model_fingerprint: Sha256
    inputs: PlanInputs
    clusters: tuple[ClusterPlan, ...] = Field(min_length=1)
    cloud: Identifier | None = None
    """Averages over the edges; by default the first edge does it."""
    routes: tuple[Route, ...] = ()
    shares: tuple[Share, ...] = ()
    prices: tuple[ResourcePrice, ...] = ()
    """Where shares are the plan's, not the job's."""
    certificates: tuple[Certificate, ...]
    predictions: Predictions
    slack: Slack = Slack()
    """Predicted times are those of devices and links at ``1 - time`` of their speed."""
    loss: Loss | None = None
    """Set by a re-plan."""
    fallbacks: tuple[Fallback, ...] = ()
    """One per device that takes part, if the job or ``--survive`` asks for them."""
    explanation: Explanation = Explanation()
    """Why the plan is as it is."""
    reproducible: bool = True
    """False if a wall-clock limit was in force."""
    seed: Count = 0
    tool_versions: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _stages_cover_the_model(self) -> Plan:
        for cluster in self.clusters:
            _check_cover(cluster, self.n_units)
        return self


def _check_cover(cluster: ClusterPlan, n_units: int) -> None:
    at = cluster.head_units
    for stage in cluster.body:
        if stage.first_unit != at:
            raise ValueError(f"cluster {cluster.id}: units {at}..{stage.first_unit - 1} unheld")
        at = stage.last_unit + 1
    if at != cluster.tail_first_unit or cluster.tail_first_unit > n_units:
        raise ValueError(f"cluster {cluster.id}: body ends at unit {at - 1}, tail does not follow")
