"""``fleet.yaml``: the devices, what each can do and what data it owns, and their links."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gaisnet.schema.base import (
    BytesFigure,
    Coordinate,
    Count,
    Figure,
    Identifier,
    PositiveFigure,
    Strict,
)

__all__ = ["DataShard", "Device", "DeviceFigures", "Fleet", "Link", "Radio", "Tier"]

Tier = Literal["end", "edge", "cloud"]


class DeviceFigures(Strict):
    """What a device can do: measured by ``gaisnet profile``, from a preset, or given by hand."""

    flops_per_s: PositiveFigure
    """Sustained floating-point operations per second in the model's dtype (one FMA is two)."""
    memory_bandwidth_bytes_per_s: PositiveFigure | None = None
    """Sustained main-memory bandwidth; without it time is FLOPs over ``flops_per_s`` alone."""
    memory_bytes: BytesFigure
    """Memory that gaisnet may use."""
    unit_overhead_s: Figure = 0.0
    """Fixed time per unit and pass (kernel launches, Python)."""
    joules_per_flop: Figure = 0.0
    """Energy per floating-point operation."""
    power_w: Figure | None = None
    """Power while busy; if given, energy is power × busy time and ``joules_per_flop`` is unused."""


class DataShard(Strict):
    """The private data of a device; it never leaves the device."""

    path: str | None = None
    """A safetensors file with the model's input tensors and ``labels``; relative to the fleet."""
    samples: Count
    """Number of samples: the aggregation weight."""
    domain: Identifier = "general"
    """Which domain's tunable modules the data tunes."""
    label_histogram: tuple[Count, ...] | None = None
    """Samples per class; what clustering balances."""

    @model_validator(mode="after")
    def _histogram_counts_every_sample(self) -> DataShard:
        if self.label_histogram is not None and sum(self.label_histogram) != self.samples:
            total = sum(self.label_histogram)
            raise ValueError(f"label_histogram sums to {total}, but samples is {self.samples}")
        return self


class Device(Strict):
    """One device. Exactly one of ``preset``, ``profile`` and ``figures`` says what it can do."""

    id: Identifier
    tier: Tier
    preset: str | None = None
    """Name in the built-in catalogue (``gaisnet profile --list-presets``)."""
    profile: str | None = None
    """A profile file made on the device; relative to the fleet."""
    figures: DeviceFigures | None = None
    memory_bytes: BytesFigure | None = None
    """Memory that gaisnet may use, where it is less than what the preset or profile says."""
    edge: Identifier | None = None
    """The edge server that coordinates this end device; by default the fleet's first."""
    privacy: Literal["owner", "shared"] = "shared"
    """``owner``: computes on its own data only and never holds a stage for other owners."""
    trust: Figure | None = None
    """How far others trust it with their data; null: not at all. An owner trusts itself, and who
    has a figure no lower than its own."""
    price_per_hour: Figure = 0.0
    """Money for an hour of busy time, in any currency."""
    position_m: tuple[Coordinate, Coordinate] | None = None
    """Where it stands: a radio link without a distance bridges that between positions."""
    data: DataShard | None = None

    @model_validator(mode="after")
    def _one_source_of_figures(self) -> Device:
        given = [n for n in ("preset", "profile", "figures") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of preset, profile and figures, not {given}")
        return self


class Radio(Strict):
    """A wireless link; its rate is Shannon's ``B log2(1 + p g / (N0 B))``."""

    bandwidth_hz: PositiveFigure
    transmit_power_w: PositiveFigure
    distance_m: PositiveFigure | None = None
    """By default that between the two devices' ``position_m``, at least a metre."""
    path_loss_db_at_1km: float = 128.1
    path_loss_exponent_db: float = 37.6
    """Path loss is ``path_loss_db_at_1km + path_loss_exponent_db · log10(distance / 1 km)`` dB."""
    noise_dbm_per_hz: float = -174.0
    shadowing_db: float = 0.0
    """A margin that is added to the path loss (log-normal shadowing has 8 dB typically)."""


class Link(Strict):
    """What carries bytes between two ends; an end is a device, or a tier for all its devices.

    A pair of devices goes before a device and a tier, and that before a pair of tiers.
    """

    between: tuple[Identifier, Identifier]
    bandwidth_bits_per_s: PositiveFigure | None = None
    """From the first end to the second."""
    reverse_bandwidth_bits_per_s: PositiveFigure | None = None
    """From the second end to the first; by default the same."""
    radio: Radio | None = None
    """Instead of a bandwidth."""
    latency_s: Figure = 0.0
    joules_per_byte: Figure = 0.0

    @model_validator(mode="after")
    def _one_source_of_bandwidth(self) -> Link:
        if (self.bandwidth_bits_per_s is None) == (self.radio is None):
            raise ValueError("give exactly one of bandwidth_bits_per_s and radio")
        return self


class Fleet(Strict):
    """All devices and links."""

    schema_version: Literal[1] = 1
    name: Identifier = "fleet"
    devices: Annotated[tuple[Device, ...], Field(min_length=1)]
    links: tuple[Link, ...] = ()

    @model_validator(mode="after")
    def _names_agree(self) -> Fleet:
        ids = [device.id for device in self.devices]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"device ids stand twice: {twice}")
        clash = sorted({"end", "edge", "cloud"} & set(ids))
        if clash:
            raise ValueError(f"device ids must not be tier names: {clash}")
        self._check_references(set(ids))
        self._check_positions()
        return self

    def _check_references(self, ids: set[str]) -> None:
        known = ids | {"end", "edge", "cloud"}
        for link in self.links:
            unknown = sorted(set(link.between) - known)
            if unknown:
                raise ValueError(f"links name devices that the fleet lacks: {unknown}")
        tier_of = {device.id: device.tier for device in self.devices}
        for device in self.devices:
            if device.edge is not None and tier_of.get(device.edge) not in ("edge", "cloud"):
                raise ValueError(f"device {device.id}: edge {device.edge!r} is no edge server")

    def _check_positions(self) -> None:
        """Where a link goes by positions, all that it may join have one."""
        for link in self.links:
            if link.radio is None or link.radio.distance_m is not None:
                continue
            lost = sorted(
                device.id
                for device in self.devices
                if {device.id, device.tier} & set(link.between) and device.position_m is None
            )
            if lost:
                ends = " and ".join(link.between)
                raise ValueError(
                    f"the radio link between {ends} has no distance_m, and no position_m "
                    f"have {lost}"
                )
