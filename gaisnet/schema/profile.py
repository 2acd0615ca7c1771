"""``profile.json``: what each unit of a model costs on a device, and what the device can do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gaisnet.schema.base import (
    Bytes,
    BytesFigure,
    Compute,
    Count,
    Figure,
    Fraction,
    PositiveCount,
    PositiveFigure,
    Sha256,
    Strict,
)
from gaisnet.schema.leakage import LeakageRow
from gaisnet.schema.link import LinkPart
from gaisnet.schema.model import ModelSpec, TunableSpec

__all__ = [
    "AttentionEfficiency",
    "DevicePart",
    "EndToEnd",
    "Extrapolation",
    "FlopWitnesses",
    "MeasuredPeak",
    "ModelPart",
    "PassWork",
    "Power",
    "Profile",
    "RankPart",
    "RankUnit",
    "Spread",
    "Timing",
    "UnitPart",
]


class Spread(Strict):
    """A repeated measurement."""

    median_s: Figure
    mean_s: Figure | None = None
    """Of all samples up to three times the median; ``None`` in profiles that have medians alone."""
    spread_s: Figure
    """Half the distance between the 5th and the 95th percentile of single samples."""
    samples: PositiveCount

    @property
    def expected_s(self) -> float:
        """What repetitions take on average: sums and plans are made of it.

        A processor that shares its core with others runs at two speeds. A median of it is one of
        the two, by chance; means add up.
        """
        return self.median_s if self.mean_s is None else self.mean_s

    def scaled(self, factor: float) -> Spread:
        """The same of something that takes ``factor`` times as long."""
        mean_s = None if self.mean_s is None else factor * self.mean_s
        scaled = {"median_s": factor * self.median_s, "spread_s": factor * self.spread_s}
        return self.model_copy(update={**scaled, "mean_s": mean_s})


class Power(Strict):
    """Watts, and where they come from."""

    idle_w: Figure
    busy_w: Figure
    source: Literal["rapl", "nvml", "datasheet", "model"]


class AttentionEfficiency(Strict):
    """Speed of attention's products over that of a transformer's other products."""

    forward: PositiveFigure
    backward: PositiveFigure


class DevicePart(Strict):
    """A device: measured here, or a preset of the catalogue.

    ``extrapolated`` is the device that a profile was extrapolated to; ``source`` keeps what its
    figures come from.
    """

    name: str
    kind: Compute
    origin: Literal["measured", "preset", "extrapolated"]
    source: str
    """What measured it, or where the datasheet is."""
    peak_flops_per_s: dict[str, PositiveFigure]
    """Best seen (or on the datasheet), by dtype."""
    sustained_flops_per_s: dict[str, PositiveFigure]
    """What a transformer's matrix products reach, by dtype."""
    memory_bandwidth_bytes_per_s: PositiveFigure
    memory_bytes: BytesFigure
    memory_source: Literal["cgroup-v2", "cgroup-v1", "meminfo", "cuda", "datasheet"]
    op_overhead_s: Figure
    """Fixed time of one operator call."""
    attention_efficiency: AttentionEfficiency | None = None
    """Measured in float32; ``None`` where nobody measured it."""
    traffic_bytes_per_s: dict[str, PositiveFigure] = Field(default_factory=dict)
    """Bytes read plus written per second by element-wise operators in float32, by kind of
    operator (the kinds of ``PassWork``), on tensors of an activation's size; and by ``update``,
    a step of AdamW on a tensor of a weight's size."""
    power: Power
    threads: PositiveCount = 1
    """Threads that the figures were measured with."""
    runtime_bytes: BytesFigure = 0
    """Resident memory of the runtime itself (interpreter, libraries); on a GPU, what of the card's
    memory is in use beside torch's allocator."""
    software: dict[str, str] = Field(default_factory=dict)


class FlopWitnesses(Strict):
    """Forward FLOPs of one sample as three counters see them; ``None``: could not count."""

    flop_counter: Count | None = None
    fvcore: Count | None = None
    closed_form: Count | None = None


class PassWork(Strict):
    """What a pass of one unit does beside the FLOPs of its products.

    Kinds of operators: ``product`` (matrix products: what they read and write), ``move`` (sums,
    scalings, copies), ``norm``, ``gelu``, ``silu``, ``tanh`` and ``softmax``.
    """

    operators: Count
    """Operator calls, views not counted."""
    sample_bytes: dict[str, Bytes]
    """Bytes read plus written per sample, by kind of operator."""
    fixed_bytes: dict[str, Bytes]
    """The same whatever the batch size: weights, and gradients of weights."""


class Timing(Strict):
    """Times of one unit at one batch size."""

    origin: Literal["measured", "extrapolated"] = "measured"
    batch_size: PositiveCount
    forward: Spread
    backward: Spread
    forward_cpu: Spread
    """The same in process CPU time, which contention touches less than wall time."""
    backward_cpu: Spread


class UnitPart(Strict):
    """One cuttable unit; counts are for one sample of the profile's input size."""

    name: str
    kind: Literal["prologue", "block", "epilogue"]
    parameters: Count
    tunable_parameters: Count
    forward_flops: Count
    attention_flops: Count = 0
    """The part of ``forward_flops`` that grows with the square of the sequence length."""
    backward_flops: Count
    """Counted under the tunable modules in use, gradients through frozen layers included."""
    witnesses: FlopWitnesses
    uncounted: tuple[str, ...] = ()
    """Operators that no witness counted."""
    weight_bytes: BytesFigure
    gradient_bytes: BytesFigure
    optimizer_bytes: BytesFigure
    """Optimizer state of the tunable parameters."""
    lora_a_bytes: BytesFigure = 0
    """The part of ``gradient_bytes`` that is LoRA's A, which FFA-LoRA neither tunes nor sends."""
    saved_activation_bytes: BytesFigure
    """Kept for the backward pass, per sample."""
    working_bytes: BytesFigure = 0
    """Highest transient memory of a pass beyond what is saved, per sample."""
    output_bytes: BytesFigure
    """What crosses the cut after this unit forward, per sample."""
    gradient_output_bytes: BytesFigure
    """What crosses it backward, per sample: 0 if nothing at or below this unit is tuned."""
    kv_bytes_per_token: BytesFigure = 0
    """Keys and values of one token of one sequence."""
    kv_window_tokens: Count | None = None
    """Most tokens whose keys and values are kept (W - 1 for a sliding window of W); ``None``:
    all."""
    operators: Count = 0
    """Operator calls of a forward pass; times ``op_overhead_s`` they make the fixed cost."""
    forward_work: PassWork | None = None
    """What the forward pass does beside its FLOPs; ``None`` in profiles that did not count it."""
    backward_work: PassWork | None = None
    """What the backward pass does."""
    tunable_tensors: Count = 0
    """Parameters that the optimizer updates one by one."""
    timings: tuple[Timing, ...] = ()
    update: Spread | None = None
    """One optimizer step on the unit's tunable parameters, which no batch size touches."""
    update_cpu: Spread | None = None
    """The same in process CPU time."""


class RankUnit(Strict):
    """What of a unit depends on LoRA's rank; see ``UnitPart``."""

    parameters: Count
    tunable_parameters: Count
    forward_flops: Count
    backward_flops: Count
    weight_bytes: BytesFigure
    gradient_bytes: BytesFigure
    optimizer_bytes: BytesFigure
    lora_a_bytes: BytesFigure
    saved_activation_bytes: BytesFigure
    working_bytes: BytesFigure
    forward_work: PassWork | None = None
    backward_work: PassWork | None = None


class RankPart(Strict):
    """The same model with LoRA of another rank, counted just as the profile itself."""

    r: PositiveCount
    fingerprint: Sha256
    units: Annotated[tuple[RankUnit, ...], Field(min_length=1)]


class MeasuredPeak(Strict):
    """Most memory of a training step, as an allocator counted it."""

    bytes: BytesFigure
    """Weights, gradients, optimizer state and activations that were alive at once; nothing of the
    runtime itself."""
    source: Literal["cuda-allocator", "cpu-allocator"]


class EndToEnd(Strict):
    """The sum of the units' times against a whole step, at one batch size."""

    batch_size: PositiveCount
    step: Spread
    """A whole step: forward, backward and the optimizer's update."""
    step_cpu: Spread
    sum_s: Figure
    """The units' forward, backward and update medians, added up."""
    sum_cpu_s: Figure
    kappa: PositiveFigure
    """``step_cpu / sum_cpu``: what the planner multiplies unit times by."""
    measured_peak: MeasuredPeak | None = None
    """Of a whole step, by the GPU's allocator; ``None`` on a CPU, whose allocator keeps no such
    figure."""


class Extrapolation(Strict):
    """How the times of a profile were made that nobody measured on the device they are for."""

    device: str
    """Whose times they are."""
    measured_on: str | None = None
    """The device whose measured times were scaled; ``None``: made from counts alone."""
    method: Literal["scaled", "modelled"]
    """``scaled``: measured times by the ratio of modelled times; ``modelled``: modelled times."""
    calibration: PositiveFigure = 1.0
    """What all times were multiplied by to meet one step that was measured there."""
    calibrated_batch_size: PositiveCount | None = None
    """Batch size of that step; ``None``: there was none."""
    expected_error: PositiveFigure | None = None
    """Relative error of a step's time that benchmarks found for this way; ``None``: not known."""


class ModelPart(Strict):
    """A model under given tunable modules."""

    model: ModelSpec
    tunable: TunableSpec
    architecture: str
    fingerprint: Sha256
    """Of the config and of every parameter's name, shape and dtype."""
    weights_sha256: Sha256 | None = None
    """Of the weight files, if they were loaded from files."""
    optimizer: Literal["sgd", "adamw"]
    tokens: PositiveCount
    """Sequence length that the counts are for."""
    input_bytes: BytesFigure
    """Raw input of one sample."""
    side_input_bytes: BytesFigure
    """What later stages get beside the hidden state, per sample (attention mask)."""
    label_bytes: BytesFigure
    units: Annotated[tuple[UnitPart, ...], Field(min_length=1)]
    tied_units: tuple[tuple[Count, ...], ...] = ()
    """Units that share a parameter."""
    end_to_end: tuple[EndToEnd, ...] = ()
    stage_overhead_s: Figure = 0.0
    """CPU time that each stage's pass costs beside its units: masks, positions, foreign modules."""
    flops_disagreement: Fraction = 0.0
    """Largest relative distance between two witnesses of one unit."""
    warnings: tuple[str, ...] = ()
    extrapolation: Extrapolation | None = None
    """How the times came about, if not all were measured; ``None``: all were."""
    leakage: tuple[LeakageRow, ...] = ()
    """One row a cut, if it was asked for with a sample of data."""
    ranks: tuple[RankPart, ...] = ()
    """Other ranks of LoRA that a job may ask for, if they were counted too."""

    @model_validator(mode="after")
    def _ranks_have_every_unit(self) -> ModelPart:
        short = [part.r for part in self.ranks if len(part.units) != len(self.units)]
        if short:
            raise ValueError(f"ranks {short} have not as many units as the model")
        return self


class Profile(Strict):
    """What ``gaisnet profile`` writes; any part may be absent."""

    schema_version: Literal[1] = 1
    device: DevicePart | None = None
    model: ModelPart | None = None
    link: LinkPart | None = None
    seed: Count = 0
    tool_versions: dict[str, str] = Field(default_factory=dict)
