"""Figures as people read them: bytes, seconds, operations, shares."""

from __future__ import annotations

import math

__all__ = [
    "as_bytes",
    "as_count",
    "as_flops",
    "as_joules",
    "as_percent",
    "as_rate",
    "as_seconds",
    "bar",
]

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")
_SMALL = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def as_bytes(n_bytes: float) -> str:
    """Bytes in binary units: ``1.5 GiB``."""
    return _scaled(n_bytes, 1024, _BINARY)


def as_count(count: float) -> str:
    """A count in decimal units: ``1.2 M``."""
    return _scaled(count, 1000, _DECIMAL).rstrip()


def as_flops(flops: float) -> str:
    """Floating-point operations: ``3.4 GFLOP``."""
    return _joined(_scaled(flops, 1000, _DECIMAL), "FLOP")


def as_rate(flops_per_s: float) -> str:
    """Floating-point operations per second: ``19.5 TFLOP/s``."""
    return _joined(_scaled(flops_per_s, 1000, _DECIMAL), "FLOP/s")


def as_seconds(seconds: float) -> str:
    """A duration: ``12.3 ms``, ``4.5 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds >= 3600:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    if seconds >= 100:
        return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"
    size, unit = next((each for each in _SMALL if seconds >= each[0]), _SMALL[-1])
    return f"{_short(seconds / size)} {unit}" if seconds else "0 s"


def as_joules(joules: float) -> str:
    """Energy: ``3.2 kJ``, ``45 mJ``."""
    if 0 < joules < 1:
        return f"{_short(joules * 1e3)} mJ"
    return _joined(_scaled(joules, 1000, _DECIMAL), "J")


def as_percent(share: float) -> str:
    """A share of one: ``12.3 %``."""
    return f"{100 * share:.1f} %"


def bar(share: float, width: int) -> str:
    """A bar of a given width in characters, filled to a share that may exceed one."""
    filled = min(width, math.ceil(share * width - 1e-9)) if share > 0 else 0
    return "█" * filled + "·" * (width - filled)


def _scaled(value: float, step: int, units: tuple[str, ...]) -> str:
    power = 0
    while abs(value) >= 0.9995 * step and power < len(units) - 1:
        value, power = value / step, power + 1
    return f"{_short(value)} {units[power]}"


def _joined(scaled: str, unit: str) -> str:
    return scaled + unit


def _short(value: float) -> str:
    """Three significant digits, and no more than the value has."""
    return f"{value:.0f}" if value == round(value) or value >= 99.95 else f"{value:.3g}"
