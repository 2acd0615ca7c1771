"""The cost model: seconds, joules and bytes of a model's units on the devices of a fleet.

The planner predicts with it and the executor's virtual clock runs on it, so that both speak of
the same figures. Units are numbered from 0; ``last_unit`` is included; an empty range
(``last_unit < first_unit``) costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from gaisnet.extrapolation import Direction, FloatArray, scaled_flops
from gaisnet.planner.cost.calibrated import calibrated_devices, calibrated_links
from gaisnet.planner.cost.compression import compressed_rows_bytes
from gaisnet.planner.cost.devices import DeviceCost, resolve_devices
from gaisnet.planner.cost.links import LinkTable
from gaisnet.planner.cost.memory import (
    MemoryNeed,
    Residence,
    cached_tokens,
    device_memory,
    frozen_bytes,
)
from gaisnet.planner.cost.times import prefill_times_s, unit_times_s, update_times_s
from gaisnet.planner.inputs import Inputs, read_inputs
from gaisnet.schema.fleet import Fleet
from gaisnet.schema.job import Aggregator, Compression, Job, OptimizerSpec
from gaisnet.schema.plan import Share
from gaisnet.schema.profile import DevicePart, ModelPart, Profile
from gaisnet.schema.run_calibration import Calibration

__all__ = ["CostModel"]

ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """All figures of one model on one fleet."""

    model: ModelPart
    devices: Mapping[str, DeviceCost]
    links: LinkTable
    optimizer: OptimizerSpec
    compression: Compression = "none"
    secure_aggregation: bool = False
    """Whether owners' modules come masked (``traffic.module_messages``)."""
    share: float = 1.0
    """Part of every device's compute and of every link that the work in question may use ..."""
    compute_shares: Mapping[str, float] = field(default_factory=dict)
    """... but of these devices' compute ..."""
    link_shares: Mapping[str, float] = field(default_factory=dict)
    """... and of the links that these devices send on."""
    _known: dict[tuple[str, str, int], FloatArray] = field(default_factory=dict, repr=False)
    """Arrays over units by device, what they are, and batch size: made once."""

    @classmethod
    def from_files(cls, job_path: str | Path) -> CostModel:
        """The cost model of fine-tuning the job at ``job_path``.

        Raises:
            InputError: A file is missing or invalid.
            MismatchError: The profile is of another model or of other tunable modules.
        """
        return cls.from_inputs(read_inputs(job_path))

    @classmethod
    def from_inputs(cls, inputs: Inputs) -> CostModel:
        """The cost model of fine-tuning from files already read."""
        parts = inputs.job, inputs.fleet, inputs.model, inputs.device_profiles
        return cls.from_parts(*parts, inputs.model_device, inputs.calibration)

    @classmethod
    def from_parts(
        cls,
        job: Job,
        fleet: Fleet,
        model: ModelPart,
        device_profiles: Mapping[str, Profile],
        model_device: DevicePart | None = None,
        calibration: Calibration | None = None,
    ) -> CostModel:
        """The cost model of fine-tuning, in the share that the job's services leave to it.

        ``model_device`` is the device that ``model`` was timed on, if it was.
        """
        made = cls(
            model=_as_tuned(model, job.fine_tuning.aggregator),
            devices=resolve_devices(fleet, model, device_profiles, job.constraints, model_device),
            links=LinkTable(fleet),
            optimizer=job.fine_tuning.optimizer,
            compression=job.fine_tuning.compression,
            secure_aggregation=job.fine_tuning.privacy.secure_aggregation,
            share=_left_by_services(job),
        )
        return made if calibration is None else made.calibrated(calibration)

    def calibrated(self, calibration: Calibration) -> CostModel:
        """The same fleet at the speeds that a run has shown."""
        return replace(
            self,
            devices=calibrated_devices(self.devices, calibration),
            links=calibrated_links(self.links, calibration),
            _known={},
        )

    def at_share(self, share: float) -> CostModel:
        """The same figures for work that may use ``share`` of compute and links."""
        return replace(self, share=share, compute_shares={}, link_shares={}, _known={})

    def at_shares(self, compute: Mapping[str, float], link: Mapping[str, float]) -> CostModel:
        """The same figures for work that has its own part of ``share`` of each device named.

        Devices without a part, or with a part of 0, give it all: nothing was divided there.

        Args:
            compute: Part of each device's compute.
            link: Part of the links that each device sends on.
        """
        mine, sent = (
            {device: part * self.share for device, part in parts.items() if part > 0.0}
            for parts in (compute, link)
        )
        return replace(self, compute_shares=mine, link_shares=sent, _known={})

    def at_plan_shares(self, user: str, shares: Iterable[Share]) -> CostModel:
        """The same figures for a service, or fine-tuning, in the shares that a plan gives it."""
        mine = [share for share in shares if share.user == user]
        return self.at_shares(
            {share.device: share.compute for share in mine},
            {share.device: share.link for share in mine},
        )

    def compute_share(self, device: str) -> float:
        """Part of a device's compute that this work may use."""
        return self.compute_shares.get(device, self.share)

    def link_share(self, sender: str) -> float:
        """Part of a device's outgoing links that this work may use."""
        return self.link_shares.get(sender, self.share)

    @property
    def n_units(self) -> int:
        """L, the number of cuttable units."""
        return len(self.model.units)

    def forward_s(self, device: str, first_unit: int, last_unit: int, batch_size: int) -> float:
        """Seconds of the forward pass of a range of units for ``batch_size`` samples."""
        return self._range_s(device, "forward", first_unit, last_unit, batch_size)

    def backward_s(self, device: str, first_unit: int, last_unit: int, batch_size: int) -> float:
        """Seconds of the backward pass; 0 for units that no gradient passes through."""
        return self._range_s(device, "backward", first_unit, last_unit, batch_size)

    def _range_s(
        self, device: str, direction: Direction, first_unit: int, last_unit: int, batch_size: int
    ) -> float:
        if last_unit < first_unit or batch_size == 0:
            return 0.0
        key = device, direction, batch_size
        if key not in self._known:
            seconds = unit_times_s(self.devices[device], self.model, direction, batch_size)
            self._known[key] = np.concatenate([[0.0], np.cumsum(seconds)])
        sums = self._known[key]
        if not np.isfinite(sums[last_unit + 1]):
            return math.inf
        return float(sums[last_unit + 1] - sums[first_unit]) / self.compute_share(device)

    def unit_s(self, device: str, batch_size: int) -> FloatArray:
        """Seconds ``[L]`` of each unit, forward and backward together."""
        total: FloatArray = self._busy_s(device, batch_size) / self.compute_share(device)
        return total

    def _busy_s(self, device: str, batch_size: int) -> FloatArray:
        """``unit_s`` of a device all of whose time is used."""
        key = device, "both", batch_size
        if key not in self._known:
            figures = self.devices[device]
            forward = unit_times_s(figures, self.model, "forward", batch_size)
            backward = unit_times_s(figures, self.model, "backward", batch_size)
            self._known[key] = forward + backward
        return self._known[key]

    def unit_j(self, device: str, batch_size: int) -> FloatArray:
        """Joules ``[L]`` of each unit, forward and backward together.

        ``power × busy time`` where the power is known, else ``joules_per_flop × FLOPs``. Energy
        does not depend on the share: a share is a part of the time at full speed.
        """
        figures = self.devices[device]
        if figures.power_w is not None:
            return figures.power_w * self._busy_s(device, batch_size)
        key = "", "flops", batch_size
        if key not in self._known:
            forward = scaled_flops(self.model.units, "forward")
            self._known[key] = forward + scaled_flops(self.model.units, "backward")
        return figures.joules_per_flop * batch_size * self._known[key]

    def update_s(self, device: str, first_unit: int, last_unit: int) -> float:
        """Seconds of one optimizer step on the tunable modules of a range of units."""
        if last_unit < first_unit:
            return 0.0
        seconds = update_times_s(self.devices[device], self.model)
        return float(seconds[first_unit : last_unit + 1].sum()) / self.compute_share(device)

    def work_s(
        self, device: str, direction: str, first_unit: int, last_unit: int, samples: int
    ) -> float:
        """Seconds of what a run does at once: ``forward``, ``backward``, ``turn`` (both) or
        ``update`` (one optimizer step)."""
        span = device, first_unit, last_unit
        if direction == "update":
            return self.update_s(*span)
        forward_s = 0.0 if direction == "backward" else self.forward_s(*span, samples)
        backward_s = 0.0 if direction == "forward" else self.backward_s(*span, samples)
        return forward_s + backward_s

    def energy_j(self, device: str, first_unit: int, last_unit: int, batch_size: int) -> float:
        """Joules of one forward and backward pass of a range of units."""
        if last_unit < first_unit:
            return 0.0
        return float(self.unit_j(device, batch_size)[first_unit : last_unit + 1].sum())

    def prefill_s(
        self, device: str, first_unit: int, last_unit: int, batch_size: int, tokens: int | None
    ) -> float:
        """Seconds of one forward pass over ``tokens`` tokens a sample (the profile's if None).

        What is linear in the sequence length is scaled by it, attention by its square; timings
        are scaled by the FLOPs' growth.
        """
        if last_unit < first_unit:
            return 0.0
        ratio = 1.0 if tokens is None else tokens / self.model.tokens
        seconds = prefill_times_s(self.devices[device], self.model, batch_size, ratio)
        return float(seconds[first_unit : last_unit + 1].sum()) / self.compute_share(device)

    def decode_s(
        self, device: str, first_unit: int, last_unit: int, sessions: int, context_tokens: int
    ) -> float:
        """Seconds to decode one token of each of ``sessions`` with KV caches.

        A roofline: the linear FLOPs of one token and attention of one query over
        ``context_tokens`` keys (a sliding window's at most), against reading all weights and
        caches once.
        """
        speeds, tokens = self.devices[device].speeds, self.model.tokens
        total_s = 0.0
        for unit in self.model.units[first_unit : last_unit + 1]:
            linear = (unit.forward_flops - unit.attention_flops) / tokens
            kept = cached_tokens(unit, context_tokens)
            attention = unit.attention_flops * kept / tokens**2
            caches = sessions * kept * unit.kv_bytes_per_token
            busy_s = max(
                sessions * (linear + attention) / speeds.flops_per_s,
                (unit.weight_bytes + caches) / speeds.memory_bytes_per_s,
            )
            total_s += busy_s + unit.operators * speeds.operator_s + speeds.unit_s
        return total_s / self.compute_share(device)

    def transfer_s(self, sender: str, receiver: str, n_bytes: float) -> float:
        """``latency + bytes / (share × bandwidth)``; 0 within a device or for no bytes at all.

        Infinite where the fleet has no link.
        """
        if sender == receiver or n_bytes == 0:
            return 0.0
        return self.links.way(sender, receiver).transfer_s(n_bytes / self.link_share(sender))

    def transfer_j(self, sender: str, receiver: str, n_bytes: float) -> float:
        """Joules of the same transfer."""
        return self.links.way(sender, receiver).transfer_j(n_bytes)

    def activation_bytes(self, unit: int, samples: int, tokens: int | None = None) -> int:
        """Payload of the hidden states at the cut after ``unit``, compressed as the job says.

        ``tokens`` of one sample are the profile's, unless given (as in inference).
        """
        return self._hidden_bytes(self.model.units[unit].output_bytes, samples, tokens)

    def gradient_bytes(self, unit: int, samples: int) -> int:
        """Payload of the gradients at the cut after ``unit``; 0 if nothing below is tuned."""
        return self._hidden_bytes(self.model.units[unit].gradient_output_bytes, samples, None)

    def _hidden_bytes(self, sample_bytes: int, samples: int, tokens: int | None) -> int:
        """Rows are tokens where the hidden states divide into them, else samples."""
        item_bytes = ITEM_BYTES[self.model.model.dtype]
        items = sample_bytes // item_bytes
        rows = self.model.tokens if items % self.model.tokens == 0 else 1
        width = items // rows
        if tokens is not None and rows > 1:
            rows = tokens
        return compressed_rows_bytes(samples * rows, width, self.compression, item_bytes)

    def side_input_bytes(self, samples: int, tokens: int | None = None) -> int:
        """Payload of what later stages get beside the hidden states (attention mask)."""
        ratio = 1.0 if tokens is None else tokens / self.model.tokens
        return round(samples * self.model.side_input_bytes * ratio)

    def label_bytes(self, samples: int) -> int:
        """Payload of the labels, under the vanilla topology only."""
        return samples * self.model.label_bytes

    def raw_input_bytes(self, samples: int) -> int:
        """Payload of raw inputs with their labels: what central training uploads."""
        return samples * (self.model.input_bytes + self.model.label_bytes)

    def module_bytes(self, first_unit: int, last_unit: int) -> int:
        """Payload of the tunable modules of a range of units (they have their gradients' size)."""
        return sum(unit.gradient_bytes for unit in self.model.units[first_unit : last_unit + 1])

    def stage_memory_bytes(
        self, first_unit: int, last_unit: int, batch_size: int, microbatches_in_flight: int = 1
    ) -> MemoryNeed:
        """Memory of one stage alone; ``batch_size`` is that of a micro-batch."""
        residence = Residence(
            first_unit=first_unit,
            last_unit=last_unit,
            samples_in_flight=batch_size * microbatches_in_flight,
            microbatch_size=batch_size,
        )
        return self.memory([residence])

    def memory(self, residences: Iterable[Residence], cache_bytes: int = 0) -> MemoryNeed:
        """Memory of a device that holds all of ``residences``."""
        return device_memory(self.model.units, self.optimizer, residences, cache_bytes)

    def frozen_bytes(self, residences: Iterable[Residence]) -> int:
        """Frozen weights of all units that ``residences`` hold, each counted once."""
        units = {u for r in residences for u in range(r.first_unit, r.last_unit + 1)}
        return sum(frozen_bytes(self.model.units[unit]) for unit in units)

    def cache_bytes(self, first_unit: int, last_unit: int, sessions: int, tokens: int) -> int:
        """KV caches of ``sessions`` of ``tokens`` tokens each."""
        units = self.model.units[first_unit : last_unit + 1]
        return sessions * sum(cached_tokens(u, tokens) * u.kv_bytes_per_token for u in units)


def _left_by_services(job: Job) -> float:
    """What a given inference share leaves; where none is given, the plan decides it later."""
    if not job.services or job.inference_share is None:
        return 1.0
    return 1.0 - job.inference_share


def _as_tuned(model: ModelPart, aggregator: Aggregator) -> ModelPart:
    """The model's figures under an aggregator: FFA-LoRA freezes A (arXiv 2403.12313)."""
    if aggregator != "ffa_lora":
        return model
    units = []
    for unit in model.units:
        kept = unit.gradient_bytes - unit.lora_a_bytes
        state = round(unit.optimizer_bytes * kept / unit.gradient_bytes) if kept else 0
        units.append(unit.model_copy(update={"gradient_bytes": kept, "optimizer_bytes": state}))
    return model.model_copy(update={"units": tuple(units)})
