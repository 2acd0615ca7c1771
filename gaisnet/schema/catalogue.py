"""The built-in catalogue of real devices: datasheet figures, and what of them is assumed."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal

from gaisnet.errors import InputError
from gaisnet.schema.base import BytesFigure, Figure, Fraction, PositiveCount, PositiveFigure, Strict
from gaisnet.schema.files import read_model
from gaisnet.schema.profile import DevicePart, Power

__all__ = ["preset", "preset_names"]


class _Assumption(Strict):
    """What a class of devices reaches of its datasheet, and why that is assumed."""

    kind: Literal["cpu", "cuda"]
    sustained_fraction: Fraction
    bandwidth_fraction: Fraction
    op_overhead_s: Figure
    runtime_bytes: BytesFigure
    reason: str


class _Entry(Strict):
    assumption: str
    peak_flops_per_s: dict[str, PositiveFigure]
    memory_bandwidth_bytes_per_s: PositiveFigure
    memory_bytes: BytesFigure
    idle_w: Figure
    busy_w: Figure
    threads: PositiveCount = 1
    source: str
    checked: str | None = None
    """Which figures a second publication confirms or corrects."""


class _Catalogue(Strict):
    assumptions: dict[str, _Assumption]
    devices: dict[str, _Entry]


@cache
def _catalogue() -> _Catalogue:
    return read_model(Path(__file__).with_name("catalogue.yaml"), _Catalogue)


def preset_names() -> tuple[str, ...]:
    """Names of all devices in the catalogue, sorted."""
    return tuple(sorted(_catalogue().devices))


def preset(name: str) -> DevicePart:
    """The device part of a profile, made from datasheet figures.

    Sustained FLOP/s and bandwidth are the datasheet's peaks times fractions that are assumed for
    the class of device; ``source`` says so, and why.

    Raises:
        InputError: The catalogue has no such device; the hint names the nearest.
    """
    entry = _catalogue().devices.get(name)
    if entry is None:
        raise InputError(f"the catalogue has no device {name!r}", hint=_suggestion(name))
    return _device_part(name, entry, _catalogue().assumptions[entry.assumption])


def _suggestion(name: str) -> str:
    containing = [known for known in preset_names() if name.lower() in known]
    near = containing or get_close_matches(name.lower(), preset_names(), n=3)
    listing = "`gaisnet profile --list-presets` lists all"
    return f"did you mean {' or '.join(near[:3])}? {listing}" if near else listing


def _device_part(name: str, entry: _Entry, assumed: _Assumption) -> DevicePart:
    sustained = {
        dtype: peak * assumed.sustained_fraction for dtype, peak in entry.peak_flops_per_s.items()
    }
    bandwidth = entry.memory_bandwidth_bytes_per_s * assumed.bandwidth_fraction
    return DevicePart(
        name=name,
        kind=assumed.kind,
        origin="preset",
        source=f"{entry.source}. {_confirmed(entry)}. {_caveat(assumed)}",
        peak_flops_per_s=entry.peak_flops_per_s,
        sustained_flops_per_s=sustained,
        memory_bandwidth_bytes_per_s=bandwidth,
        memory_bytes=entry.memory_bytes,
        memory_source="datasheet",
        op_overhead_s=assumed.op_overhead_s,
        power=Power(idle_w=entry.idle_w, busy_w=entry.busy_w, source="datasheet"),
        threads=entry.threads,
        runtime_bytes=assumed.runtime_bytes,
    )


def _confirmed(entry: _Entry) -> str:
    if entry.checked is None:
        return "Not checked against a second source; idle power is an estimate"
    return f"Checked: {entry.checked}"


def _caveat(assumed: _Assumption) -> str:
    return (
        f"Assumed: {assumed.sustained_fraction:.0%} of peak FLOP/s and "
        f"{assumed.bandwidth_fraction:.0%} of peak bandwidth are sustained ({assumed.reason})"
    )
