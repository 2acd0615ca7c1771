"""What a splitting problem is: units of a model, devices, links, and the rules of the chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

__all__ = [
    "DeviceFigures",
    "LinkMatrices",
    "Mode",
    "PrivacyTier",
    "SplitProblem",
    "Topology",
    "UnitCost",
]

Mode = Literal["inference", "training"]
Topology = Literal["chain", "u_shape"]


def _reject_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("must be a number, got NaN")
    return value


def _plain_rows(value: Any) -> Any:
    """Accept numpy matrices as well as nested lists."""
    return value.tolist() if hasattr(value, "tolist") else value


Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Unlimited = Annotated[float, AfterValidator(_reject_nan), Field(ge=0)]
FiniteMatrix = Annotated[tuple[tuple[Amount, ...], ...], BeforeValidator(_plain_rows)]
Index = Annotated[int, Field(ge=0)]
UnlimitedMatrix = Annotated[tuple[tuple[Unlimited, ...], ...], BeforeValidator(_plain_rows)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class UnitCost(_Strict):
    """What one cuttable unit costs for one mini-batch; all figures finite and not negative."""

    forward_flops: Amount
    """Floating-point operations of the forward pass (one multiply-add is two)."""
    backward_flops: Amount = 0.0
    """Floating-point operations of the backward pass; used in training only."""
    param_bytes: Amount = 0.0
    """Weights, and whatever else stays on the device with them."""
    activation_bytes: Amount = 0.0
    """Working memory of the unit while it runs."""
    output_bytes: Amount = 0.0
    """What crosses a cut right after this unit."""
    leakage: Annotated[float, Field(ge=0, le=1)] = 1.0
    """What a cut right after this unit gives away of the raw input: 0 nothing, 1 all of it (or
    not measured), e.g. one less the inversion error. ``max_leakage`` limits it."""


class DeviceFigures(_Strict):
    """What a device can do."""

    flops_per_s: Annotated[float, AfterValidator(_reject_nan), Field(gt=0)]
    """Sustained speed; infinity means that computing takes no time."""
    memory_bytes: Unlimited
    """Infinity means that memory is no limit."""
    joules_per_flop: Amount = 0.0
    price_per_hour: Amount = 0.0
    """Money for an hour of busy time, in any currency; ``cost_budget`` limits it."""
    trust: Amount | None = None
    """How far others trust the device with their data; None: not at all. It may see what leaks
    if it is the owner, or if it and the owner have a figure and its own is no lower."""


class PrivacyTier(_Strict):
    """The first units of the model may be on certain devices only, and on the owner."""

    first_units: Annotated[int, Field(ge=1)]
    """Units 0 .. first_units - 1 are bound by it."""
    devices: tuple[Index, ...]


class LinkMatrices(_Strict):
    """Links between devices as N x N matrices, row = sender; diagonals are ignored."""

    bandwidth_bytes_per_s: UnlimitedMatrix
    """Zero means that there is no link; infinity that only the latency counts."""
    latency_s: FiniteMatrix
    joules_per_byte: FiniteMatrix


class SplitProblem(_Strict):
    """Who holds which consecutive units of a model, over devices joined by links.

    Raises:
        pydantic.ValidationError: A figure is negative, NaN or infinite where that means nothing;
            a matrix is not N x N; or pins or a U-shape are asked for without an owner.
    """

    mode: Mode = "inference"
    """In ``training`` every unit also runs backward, and every cut sends a gradient of the
    activation's size back over the reverse link."""
    units: Annotated[tuple[UnitCost, ...], Field(min_length=1)]
    devices: Annotated[tuple[DeviceFigures, ...], Field(min_length=1)]
    links: LinkMatrices
    owner: Annotated[int, Field(ge=0)] | None = None
    """Index of the device that owns the data."""
    topology: Topology = "chain"
    """``u_shape``: the owner holds the first and the last units, or all of them."""
    pin_first: Annotated[int, Field(ge=0)] = 0
    """So many leading units must be on the owner."""
    pin_last: Annotated[int, Field(ge=0)] = 0
    """So many trailing units must be on the owner."""
    send_input: bool = False
    """The raw input travels from the owner to the first device, if that is another one. Without
    an owner nobody has to send it, and nothing is charged."""
    input_bytes: Amount = 0.0
    max_segments: Annotated[int, Field(ge=1)] | None = None
    """At most so many segments; under ``u_shape`` the owner's two count as two."""
    microbatches: Annotated[int, Field(ge=1)] = 1
    """M of makespan = latency + (M - 1) * period."""
    forbidden_devices: tuple[Index, ...] = ()
    """Devices that hold nothing."""
    forced_devices: tuple[Index, ...] = ()
    """Devices that hold a segment each."""
    together_devices: tuple[tuple[Index, ...], ...] = ()
    """Sets of devices of which all hold a segment, or none does."""
    apart_devices: tuple[tuple[Index, ...], ...] = ()
    """Sets of devices of which at most one holds a segment."""
    colocated_units: tuple[tuple[Index, ...], ...] = ()
    """Sets of units that are on one device; under ``u_shape`` the owner's two ends are one."""
    privacy_tiers: tuple[PrivacyTier, ...] = ()
    max_leakage: Annotated[float, Field(ge=0, le=1)] | None = None
    """No cut that leaks more may be made towards a device that is less trusted than the owner
    (see ``DeviceFigures.trust``), and below 1 such a device must not begin the chain: it would
    see the raw input. Without an owner nobody is trusted, and whoever begins has the data."""
    energy_budget_j: Unlimited | None = None
    """Most joules of one mini-batch: compute, cuts and the raw input's way."""
    cost_budget: Unlimited | None = None
    """Most money for the busy time of one mini-batch, by the devices' ``price_per_hour``."""

    @model_validator(mode="after")
    def _matrices_are_square(self) -> Self:
        count = len(self.devices)
        for name in ("bandwidth_bytes_per_s", "latency_s", "joules_per_byte"):
            rows: Sequence[Sequence[float]] = getattr(self.links, name)
            if len(rows) != count or any(len(row) != count for row in rows):
                shape = f"{len(rows)} rows of lengths {sorted({len(row) for row in rows})}"
                raise ValueError(f"links.{name} must be {count} x {count}, got {shape}")
        return self

    @model_validator(mode="after")
    def _owner_is_there_when_needed(self) -> Self:
        if self.owner is not None and self.owner >= len(self.devices):
            raise ValueError(f"owner {self.owner} is not one of the {len(self.devices)} devices")
        if self.owner is None and self.topology == "u_shape":
            raise ValueError("topology u_shape needs an owner, but owner is null")
        if self.owner is None and (self.pin_first or self.pin_last):
            raise ValueError("pin_first and pin_last need an owner, but owner is null")
        return self

    @model_validator(mode="after")
    def _pins_fit_the_model(self) -> Self:
        for name in ("pin_first", "pin_last"):
            if getattr(self, name) > len(self.units):
                raise ValueError(
                    f"{name} is {getattr(self, name)}, but there are {len(self.units)} units"
                )
        return self

    @model_validator(mode="after")
    def _rules_name_what_there_is(self) -> Self:
        tiers = tuple(tier.devices for tier in self.privacy_tiers)
        for name, sets, count, kind in (
            ("forbidden_devices", (self.forbidden_devices,), len(self.devices), "devices"),
            ("forced_devices", (self.forced_devices,), len(self.devices), "devices"),
            ("together_devices", self.together_devices, len(self.devices), "devices"),
            ("apart_devices", self.apart_devices, len(self.devices), "devices"),
            ("privacy_tiers", tiers, len(self.devices), "devices"),
            ("colocated_units", self.colocated_units, len(self.units), "units"),
        ):
            unknown = sorted({index for each in sets for index in each if index >= count})
            if unknown:
                raise ValueError(f"{name} names {unknown}, but there are {count} {kind}")
        for tier in self.privacy_tiers:
            if tier.first_units > len(self.units):
                raise ValueError(
                    f"privacy_tiers: first_units is {tier.first_units}, "
                    f"but there are {len(self.units)} units"
                )
        return self

    def sees_all(self, device: int) -> bool:
        """Whether ``max_leakage`` leaves the device free: the owner, and who is as trusted."""
        if self.owner is None:
            return False
        own, other = self.devices[self.owner].trust, self.devices[device].trust
        return device == self.owner or (own is not None and other is not None and other >= own)

    def may_begin(self, device: int) -> bool:
        """Whether ``max_leakage`` lets a device see the raw input."""
        free = self.max_leakage is None or self.max_leakage >= 1.0 or self.owner is None
        return free or self.sees_all(device)

    def may_cut(self, receiver: int, unit: int) -> bool:
        """Whether ``max_leakage`` lets a device receive what crosses the cut after ``unit``."""
        if self.max_leakage is None or self.sees_all(receiver):
            return True
        return self.units[unit].leakage <= self.max_leakage

    def busy_cost(self, device: int, busy_s: float) -> float:
        """Money for so many busy seconds of a device."""
        return self.devices[device].price_per_hour * busy_s / 3600.0

    def hop_s(self, sender: int, receiver: int, data_bytes: float) -> float:
        """Seconds for ``data_bytes`` over one link; infinite where there is no link."""
        bandwidth = self.links.bandwidth_bytes_per_s[sender][receiver]
        if bandwidth == 0.0:
            return math.inf
        return self.links.latency_s[sender][receiver] + data_bytes / bandwidth

    def hop_j(self, sender: int, receiver: int, data_bytes: float) -> float:
        """Joules for ``data_bytes`` over one link."""
        return self.links.joules_per_byte[sender][receiver] * data_bytes

    def cut_s(self, sender: int, receiver: int, unit: int) -> float:
        """Seconds of the cut after ``unit``: forward and, in training, the gradient's way back."""
        data_bytes = self.units[unit].output_bytes
        back_s = self.hop_s(receiver, sender, data_bytes) if self.mode == "training" else 0.0
        return self.hop_s(sender, receiver, data_bytes) + back_s

    def cut_j(self, sender: int, receiver: int, unit: int) -> float:
        """Joules of the cut after ``unit``, both ways in training."""
        data_bytes = self.units[unit].output_bytes
        back_j = self.hop_j(receiver, sender, data_bytes) if self.mode == "training" else 0.0
        return self.hop_j(sender, receiver, data_bytes) + back_j

    def unit_flops(self, unit: int) -> float:
        """Operations of one unit for one mini-batch, forward and, in training, backward."""
        cost = self.units[unit]
        return cost.forward_flops + (cost.backward_flops if self.mode == "training" else 0.0)

    def unit_bytes(self, unit: int) -> float:
        """Memory that one unit takes on its device."""
        return self.units[unit].param_bytes + self.units[unit].activation_bytes
