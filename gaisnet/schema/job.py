"""``job.yaml``: what is to be tuned and served, how, and within which limits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gaisnet.schema.base import (
    BytesFigure,
    Count,
    Figure,
    Fraction,
    Identifier,
    PositiveCount,
    PositiveFigure,
    Strict,
)
from gaisnet.schema.fleet import Tier
from gaisnet.schema.model import LoraSpec, ModelSpec, TunableSpec

__all__ = [
    "AdamWSpec",
    "Aggregator",
    "ClusteringSpec",
    "Compression",
    "Constraints",
    "FineTuning",
    "Intra",
    "Job",
    "Measure",
    "Objective",
    "OptimizerSpec",
    "PrivacyTier",
    "RobustSpec",
    "Scheme",
    "SearchSpace",
    "SearchSpec",
    "Service",
    "SgdSpec",
    "Topology",
    "UpdateGateSpec",
]

Scheme = Literal["hfsl", "fl", "sl", "sfl-v1", "sfl-v2", "central"]
Topology = Literal["vanilla", "u_shape"]
Intra = Literal["sequential", "merge"]
Aggregator = Literal["fedavg", "ffa_lora", "fedex_lora", "trimmed_mean", "median"]
Compression = Literal["none", "int8", "int4"]
Objective = Literal["latency", "period", "makespan", "energy"]
Measure = Literal["time", "energy", "bytes", "memory", "leakage", "rank", "bits", "interval"]


class SgdSpec(Strict):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFigure = 0.01
    momentum: Fraction = 0.0
    weight_decay: Figure = 0.0


class AdamWSpec(Strict):
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFigure = 1e-3
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999
    eps: PositiveFigure = 1e-8
    weight_decay: Figure = 0.01


OptimizerSpec = Annotated[SgdSpec | AdamWSpec, Field(discriminator="kind")]


class UpdateGateSpec(Strict):
    """Which updates are averaged; names, shapes, types and finiteness are checked in any case."""

    norm_factor: PositiveFigure | None = 10.0
    """Largest norm of an update over the running median of norms; null: any norm will do."""
    window: PositiveCount = 32
    """Accepted norms that the running median goes back."""


class PrivacySpec(Strict):
    """What protects owners beyond that their data stays where it is (docs/security.md)."""

    secure_aggregation: bool = False
    """The edge learns the mean of its owners' modules alone: they come masked (three or more
    owners a cluster, averages by ``fedavg`` or ``ffa_lora``)."""
    update_clip_norm: PositiveFigure | None = None
    """C: each owner clips the update of its modules to this Euclidean norm before it sends them."""
    noise_multiplier: Figure = 0.0
    """Each owner adds Gaussian noise of this many C to every coordinate of its update."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """At which the ε that the updates spend is told."""
    activation_noise: Figure = 0.0
    """Noise on the head's activations over their root mean square. It is no proven guarantee:
    what it does is what ``gaisnet profile --leakage`` measures."""
    reproducible_noise: bool = False
    """Noise follows the run's id, for experiments and exact resuming; whoever knows the id can
    take it off. By default it is drawn from the operating system's randomness."""

    @model_validator(mode="after")
    def _noise_has_a_scale(self) -> PrivacySpec:
        if self.noise_multiplier and self.update_clip_norm is None:
            raise ValueError("noise_multiplier needs update_clip_norm, of which it is a multiple")
        return self


class FineTuning(Strict):
    """How the tunable modules are tuned (HFSL)."""

    rounds: PositiveCount = 10
    local_steps: PositiveCount = 4
    """Steps of each owner in a round."""
    batch_size: PositiveCount = 16
    """Samples of one owner in one step."""
    microbatches: PositiveCount = 1
    """Parts of a batch that are pipelined through the stages."""
    optimizer: OptimizerSpec = AdamWSpec()
    keep_optimizer_state: bool = True
    """Whether optimizer moments live on over rounds, or start anew after each averaging."""
    clip_norm: PositiveFigure | None = None
    """Largest Euclidean norm of the whole gradient, over all parts of the model."""
    topology: Topology = "u_shape"
    """``u_shape``: owners keep head, tail and labels. ``vanilla``: labels go to the last stage."""
    intra: Intra = "sequential"
    """Owners of a cluster take turns, or their features are merged to one batch at the body."""
    aggregator: Aggregator = "fedavg"
    trim_fraction: Annotated[float, Field(ge=0, lt=0.5)] = 0.2
    """``trimmed_mean``: share of the contributors whose values are left out at either end."""
    update_gate: UpdateGateSpec = UpdateGateSpec()
    quorum: Fraction = 0.5
    """Least share of all samples whose owners' updates must be accepted for a round to close."""
    cloud_every: PositiveCount = 1
    """Rounds between two averages over the edges at the cloud."""
    compression: Compression = "none"
    """Quantisation of activations and gradients that cross a cut."""
    personal: bool = False
    """Whether modules are averaged within each domain only, or over all domains."""
    eval_every: PositiveCount = 1
    """Rounds between two evaluations."""
    keep_checkpoints: PositiveCount = 2

    privacy: PrivacySpec = PrivacySpec()

    @model_validator(mode="after")
    def _means_alone_are_secure(self) -> FineTuning:
        if self.privacy.secure_aggregation and self.aggregator not in ("fedavg", "ffa_lora"):
            raise ValueError(
                f"secure_aggregation knows the owners' mean alone, but aggregator "
                f"{self.aggregator} needs each owner's modules"
            )
        return self

    @model_validator(mode="after")
    def _microbatches_divide(self) -> FineTuning:
        if self.batch_size % self.microbatches:
            raise ValueError(
                f"microbatches {self.microbatches} must divide batch_size {self.batch_size}"
            )
        return self


class ClusteringSpec(Strict):
    """Who is clustered with whom."""

    clusters: PositiveCount | None = None
    """Number of clusters; by default the best of 1 to the largest that is feasible, at most 16."""
    policy: Literal["mix", "similar"] = "mix"
    """``mix``: every cluster's labels like the fleet's. ``similar``: like with like, for modules
    that are meant for a cluster's own users. What either does to accuracy is measured
    (docs/experiments.md), not promised."""
    label_weight: Figure = 1.0
    """Weight of the clusters' distance from the fleet's label distribution (total variation), or,
    under ``similar``, of the label distances within clusters."""
    speed_weight: Figure = 0.5
    """Weight of the slowest cluster's shortfall from the mean speed."""
    proximity_weight: Figure = 0.25
    """Weight of the round-trip times within clusters, relative to the fleet's."""
    min_devices: PositiveCount = 1
    max_devices: PositiveCount | None = None


class PrivacyTier(Strict):
    """Who may hold the first units for others; owners hold their heads in any case."""

    first_units: PositiveCount
    """Units 0 .. first_units - 1 are bound by it."""
    tiers: tuple[Tier, ...] = ("end", "edge", "cloud")
    min_trust: Figure = 0.0
    """Least ``trust`` of the fleet's device; without a figure it has none."""


class Constraints(Strict):
    """What a plan must respect beyond memory."""

    min_head_units: PositiveCount = 1
    """Leading units that stay on the owner: raw inputs never leave it (privacy depth)."""
    min_tail_units: PositiveCount = 1
    """Trailing units that stay on the owner under ``u_shape``: labels never leave it."""
    max_stages: PositiveCount | None = None
    """Most stages of one cluster's body."""
    forbidden_devices: tuple[Identifier, ...] = ()
    """Devices that must hold no stage for others."""
    forced_devices: tuple[Identifier, ...] = ()
    """Devices that must hold a stage of the body of every cluster that may use them."""
    together_devices: tuple[tuple[Identifier, ...], ...] = ()
    """Sets of devices: in each cluster all of those that may hold a stage of its body do, or none
    does."""
    apart_devices: tuple[tuple[Identifier, ...], ...] = ()
    """Sets of devices of which at most one holds a stage of a cluster's body."""
    colocated_units: tuple[tuple[Count, ...], ...] = ()
    """Sets of units that stay on one device: all with the owners, or all in one stage."""
    privacy_tiers: tuple[PrivacyTier, ...] = ()
    """Which devices may hold the first units for others."""
    max_leakage: Fraction | None = None
    """What a cut may leak to a device that some owner does not trust (``trust`` in the fleet):
    one less the inversion error of ``gaisnet profile --leakage``; cuts that were not measured
    leak all."""
    max_distance_correlation: Fraction | None = None
    """The same for the distance correlation between raw inputs and what crosses the cut."""
    step_energy_budget_j: Figure | None = None
    """Most joules of one local step of all owners of a cluster."""
    step_cost_budget: Figure | None = None
    """Most money for the busy time of such a step, by the fleet's ``price_per_hour``."""
    memory_slack: Fraction = 0.0
    """Share of every device's memory that is kept free."""
    time_slack: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of every device's speed and every link's bandwidth that the plan does not count on."""
    reserved_bytes: BytesFigure = 0
    """Memory of the runtime itself on every device."""


class RobustSpec(Strict):
    """What the plan must bear."""

    survive: Literal[0, 1] = 0
    """Devices of which any may be lost: a re-plan for each is stored in the plan."""
    bytes_weight: Figure = 1.0
    """What it costs a re-plan to move the whole model once, in steps of the cluster hit."""


class SearchSpace(Strict):
    """What ``gaisnet plan --search`` varies; a field without values gets some near the job's.

    Who is in which cluster, where it is cut and who serves whom is never searched for: that is
    solved exactly for every combination.
    """

    clusters: tuple[PositiveCount, ...] | None = None
    """By default 1 to the number of owners, at most 16, unless the job fixes it."""
    objective: tuple[Objective, ...] | None = None
    """What splits minimise: by default the job's, and energy."""
    topology: tuple[Topology, ...] | None = None
    """By default the job's: under ``vanilla`` labels leave their owners, which you must want."""
    min_head_units: tuple[PositiveCount, ...] | None = None
    """Depth floors of the head, against leakage: by default the job's and two more."""
    min_tail_units: tuple[PositiveCount, ...] | None = None
    """By default the job's."""
    batch_size: tuple[PositiveCount, ...] | None = None
    """By default the job's, its half and its double."""
    microbatches: tuple[PositiveCount, ...] | None = None
    """By default the job's."""
    rank: tuple[PositiveCount, ...] | None = None
    """Of LoRA: by default all that the profile has figures of."""
    compression: tuple[Compression, ...] | None = None
    """By default all."""
    local_steps: tuple[PositiveCount, ...] | None = None
    """By default the job's, half and double as many."""
    cloud_every: tuple[PositiveCount, ...] | None = None
    """By default the job's, and its double."""


class SearchSpec(Strict):
    """How hard the planner tries."""

    gap: Figure = 1e-6
    """Relative gap at which a decision counts as proven."""
    node_limit: PositiveCount = 200_000
    """Search nodes per split: reproducible, unlike a wall-clock limit."""
    time_limit_s: PositiveFigure | None = None
    """Opt-in wall-clock limit per split; marks the plan as not reproducible."""
    space: SearchSpace = SearchSpace()
    """Of ``gaisnet plan --search``."""
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] | None = None
    """What plans are compared by; by default time, energy, bytes, memory, leakage if the profile
    has it, and of rank, bits and interval those that vary."""


class Service(Strict):
    """A group of users that asks the model (a user group of GaisNet, one domain each)."""

    id: Identifier
    domain: Identifier = "general"
    origin: Identifier | None = None
    """Device at which requests arise; by default an owner of the cluster that serves them."""
    rate_per_s: PositiveFigure
    """Mean request rate (Poisson)."""
    prompt_tokens: PositiveCount | None = None
    """Tokens of a prompt; for models without text the profile's own input size counts."""
    output_tokens: Count = 0
    """Tokens to generate; 0 for classification."""
    slo_s: PositiveFigure | None = None
    """Latency that the requests must meet ..."""
    slo_percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """... in this percentile of them; without it in the mean."""
    delay_weight: Figure = 0.0625
    """What its latency counts, relative to that on the idle fleet, where a round of fine-tuning
    counts 1, relative to one without services. A sixteenth gives a fifth of a device to a service
    that is alone there with fine-tuning."""
    data: str | None = None
    """A safetensors file with requests (and ``labels`` to score them); relative to the job."""


class Job(Strict):
    """Everything that ``gaisnet plan`` needs."""

    schema_version: Literal[1] = 1
    name: Identifier = "job"
    fleet: str
    """Path of the fleet; relative to the job, like every path here."""
    profile: str
    """Path of the model's profile."""
    calibration: str | None = None
    """Path of a calibration, whose figures go before the fleet's and the profiles'."""
    model: ModelSpec
    """``model.source`` is relative to the job if it is a path."""
    tunable: TunableSpec = LoraSpec()
    scheme: Scheme = "hfsl"
    fine_tuning: FineTuning = FineTuning()
    clustering: ClusteringSpec = ClusteringSpec()
    constraints: Constraints = Constraints()
    objective: Objective = "makespan"
    """What the split of each cluster minimises for a step of fine-tuning."""
    robust: RobustSpec = RobustSpec()
    search: SearchSpec = SearchSpec()
    services: tuple[Service, ...] = ()
    inference_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of each stage holder's compute and links that is kept for inference, if any; by
    default the plan decides it for each device and service, so that all SLOs hold."""
    evaluation: str | None = None
    """A safetensors file with held-out samples; relative to the job."""
    seed: Count = 0

    @model_validator(mode="after")
    def _services_want_something(self) -> Job:
        for service in self.services:
            if service.slo_s is None and service.delay_weight == 0.0:
                raise ValueError(
                    f"service {service.id} needs slo_s or a delay_weight above 0: "
                    "else nothing gives it a share"
                )
        return self

    @model_validator(mode="after")
    def _services_have_names(self) -> Job:
        ids = [service.id for service in self.services]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"service ids stand twice: {twice}")
        return self
